using System.Runtime.InteropServices;

namespace KernelForge.Tests;

/// <summary>
/// A device with so many bytes for buffers that computes nothing: a CPU, or one with memory of its own that takes F16 and BF16 only, as a GPU does.
/// </summary>
internal sealed class MemoryDevice(long capacity, bool isCpu = true) : Device
{
    public override string Name => $"a device with {capacity} bytes";

    public override bool IsCpu => isCpu;

    public override long AvailableBytes => isCpu ? base.AvailableBytes : capacity - AllocatedBytes;

    public override IReadOnlyList<DType> ComputeTypes => isCpu ? base.ComputeTypes : [DType.F16, DType.BF16];

    public override Operators Operators => Cpu.Operators;

    public override void Synchronize()
    {
    }

    protected override void Dispose(bool disposing)
    {
    }

    protected override nint AllocateCore(long bytes) =>
        Marshal.AllocHGlobal(AllocatedBytes + bytes <= capacity ? (nint)bytes : nint.MaxValue); // what no machine has

    protected override void FreeCore(nint address) => Marshal.FreeHGlobal(address);

    protected internal override void CopyToDevice(ReadOnlySpan<byte> source, nint destination) => Marshal.Copy(source.ToArray(), 0, destination, source.Length);

    protected internal override unsafe void CopyToHost(nint source, Span<byte> destination) =>
        new ReadOnlySpan<byte>((void*)source, destination.Length).CopyTo(destination);
}
