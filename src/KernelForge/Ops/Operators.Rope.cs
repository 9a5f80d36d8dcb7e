namespace KernelForge;

public abstract partial class Operators
{
    /// <summary>
    /// Rotates the pairs (i, i + head_dim / 2) of every head by the angle of the token's position, in place. RoFormer, arXiv:2104.09864, in the
    /// pairing of Hugging Face checkpoints.
    /// </summary>
    /// <param name="x">[tokens, heads · head_dim], changed in place.</param>
    /// <param name="positions">[tokens] absolute positions in 0 .. angles.Rows - 1.</param>
    /// <param name="angles">F32 [positions, head_dim]: row p holds cos of the head_dim / 2 angles of position p, then their sin.</param>
    public void Rope(in DeviceMatrix x, DeviceSpan<int> positions, in DeviceMatrix angles)
    {
        CheckFloat("Rope", "x", x);
        CheckLength("Rope", "positions", positions, x.Rows);
        CheckFloat("Rope", "angles", angles);
        Check.That(angles.DType == DType.F32 && angles.Columns > 0 && angles.Columns % 2 == 0,
            $"Rope: angles is {angles}, expected F32[positions, even head_dim]");
        Check.That(x.Columns % angles.Columns == 0, $"Rope: x is {x}, whose columns are no multiple of head_dim {angles.Columns}");
        if (!x.IsEmpty) RopeCore(x, positions, angles);
    }

    /// <summary>Computes <see cref="Rope"/> on checked arguments.</summary>
    protected abstract void RopeCore(in DeviceMatrix x, DeviceSpan<int> positions, in DeviceMatrix angles);
}
