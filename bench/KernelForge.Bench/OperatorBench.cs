using BenchmarkDotNet.Attributes;

namespace KernelForge.Bench;

/// <summary>
/// A benchmark of one operator call. A derived class says what the call costs at least; the columns make rates of it.
/// </summary>
public abstract class OperatorBench
{
    /// <summary>Floating-point operations of a call; a multiply-add is two.</summary>
    public abstract double Flops { get; }

    /// <summary>Bytes that a call has to read or write when every operand is touched once.</summary>
    public abstract double Bytes { get; }

    /// <summary>What the device reaches at most, measured in the same run where it can be.</summary>
    internal abstract Ceiling Ceiling { get; }

    protected Device Device { get; private set; } = Device.Cpu;

    /// <summary>The operands' memory, on <see cref="Device"/>.</summary>
    private protected Operands Operands { get; private set; } = null!;

    [GlobalSetup]
    public void Open()
    {
        Device = OpenDevice();
        Operands = new Operands(Device);
        Allocate();
        Device.Synchronize();
    }

    [GlobalCleanup]
    public void Close()
    {
        Operands.Dispose();
        CloseDevice();
    }

    /// <summary>The device of a case.</summary>
    protected abstract Device OpenDevice();

    /// <summary>Frees what <see cref="OpenDevice"/> made.</summary>
    protected abstract void CloseDevice();

    /// <summary>Makes the operands.</summary>
    protected abstract void Allocate();
}
