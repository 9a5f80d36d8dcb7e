using System.Runtime.InteropServices;

namespace KernelForge.Cpu;

internal sealed unsafe class CpuDevice : Device
{
    private const int Alignment = 64;

    private readonly bool _isShared;
    private readonly CpuThreads _threads;

    public CpuDevice(CpuDeviceOptions options, bool isShared)
    {
        _isShared = isShared;
        InstructionSet = options.InstructionSet ?? CpuInstructionSets.Best;
        Check.That(InstructionSet <= CpuInstructionSets.Best, $"OpenCpu: this machine has {CpuInstructionSets.Best}, {InstructionSet} was asked for");
        Check.That(options.Threads is >= 0 and <= CpuDeviceOptions.MaxThreads,
            $"OpenCpu: {options.Threads} threads; expected 1 .. {CpuDeviceOptions.MaxThreads}, or 0 for one per core");
        _threads = new CpuThreads(options.Threads == 0 ? Environment.ProcessorCount : options.Threads);
        Operators = new CpuOperators(this, _threads, InstructionSet);
    }

    public CpuInstructionSet InstructionSet { get; }

    public override string Name => $"CPU ({_threads.Count} threads, {InstructionSet})";

    public override bool IsCpu => true;

    public override Operators Operators { get; }

    public override void Synchronize()
    {
    }

    protected override void Dispose(bool disposing)
    {
        if (!_isShared) _threads.Dispose();
    }

    protected override nint AllocateCore(long bytes) => (nint)NativeMemory.AlignedAlloc((nuint)Math.Max(bytes, 1), Alignment);

    protected override void FreeCore(nint address) => NativeMemory.AlignedFree((void*)address);

    protected internal override void CopyToDevice(ReadOnlySpan<byte> source, nint destination) =>
        source.CopyTo(new Span<byte>((void*)destination, source.Length));

    protected internal override void CopyToHost(nint source, Span<byte> destination) =>
        new ReadOnlySpan<byte>((void*)source, destination.Length).CopyTo(destination);
}
