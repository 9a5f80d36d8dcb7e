namespace KernelForge;

public abstract partial class Operators
{
    /// <summary>
    /// result = gate · sigmoid(gate) · up, element by element. <paramref name="result"/> may be <paramref name="gate"/> or <paramref name="up"/>.
    /// </summary>
    /// <param name="gate">[rows, columns].</param>
    /// <param name="up">[rows, columns].</param>
    /// <param name="result">[rows, columns].</param>
    public void SiluMul(in DeviceMatrix gate, in DeviceMatrix up, in DeviceMatrix result)
    {
        CheckFloat("SiluMul", "gate", gate);
        CheckFloat("SiluMul", "up", up, gate.Rows, gate.Columns);
        CheckFloat("SiluMul", "result", result, gate.Rows, gate.Columns);
        if (!gate.IsEmpty) SiluMulCore(gate, up, result);
    }

    /// <summary>Computes <see cref="SiluMul"/> on checked arguments.</summary>
    protected abstract void SiluMulCore(in DeviceMatrix gate, in DeviceMatrix up, in DeviceMatrix result);
}
