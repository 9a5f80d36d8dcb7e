using System.Runtime.InteropServices;

namespace KernelForge.Cpu;

internal sealed unsafe class CpuDevice : Device
{
    private const int Alignment = 64;

    private readonly bool _isShared;
    private readonly CpuThreads _threads;
    private readonly CpuLibrary? _library;

    public CpuDevice(CpuDeviceOptions options, bool isShared)
    {
        _isShared = isShared;
        InstructionSet = options.InstructionSet ?? CpuInstructionSets.Best;
        Check.That(InstructionSet <= CpuInstructionSets.Best, $"OpenCpu: this machine has {CpuInstructionSets.Best}, {InstructionSet} was asked for");
        Check.That(options.Threads is >= 0 and <= CpuDeviceOptions.MaxThreads,
            $"OpenCpu: {options.Threads} threads; expected 1 .. {CpuDeviceOptions.MaxThreads}, or 0 for one per core");
        int threads = options.Threads == 0 ? Environment.ProcessorCount : options.Threads;
        _threads = new CpuThreads(threads, options.Nodes > 0 ? CpuTopology.Simulated(options.Nodes, threads) : CpuTopology.Read(), options.Pin);
        _library = options.Native && InstructionSet == CpuInstructionSet.Vector512 ? CpuLibrary.OfProcess : null; // it needs AVX-512
        Operators = new CpuOperators(this, _threads, InstructionSet, _library);
    }

    public CpuInstructionSet InstructionSet { get; }

    public override string Name =>
        $"CPU ({_threads.Count} threads, {InstructionSet}{(_threads.Pinned > 0 ? ", pinned" : "")}{(_library is null ? "" : $", native {_library}")})";

    public override bool IsCpu => true;

    public override Operators Operators { get; }

    public override void Synchronize()
    {
    }

    protected override void Dispose(bool disposing)
    {
        if (!_isShared) _threads.Dispose();
    }

    protected override nint AllocateCore(long bytes)
    {
        bool isLarge = bytes >= HugePages.Worthwhile;
        var address = (nint)NativeMemory.AlignedAlloc((nuint)Math.Max(bytes, 1), (nuint)(isLarge ? HugePages.Size : Alignment));
        if (isLarge) HugePages.Ask(address, bytes);
        return address;
    }

    protected override void FreeCore(nint address) => NativeMemory.AlignedFree((void*)address);

    protected internal override void CopyToDevice(ReadOnlySpan<byte> source, nint destination) =>
        source.CopyTo(new Span<byte>((void*)destination, source.Length));

    protected internal override void CopyToHost(nint source, Span<byte> destination) =>
        new ReadOnlySpan<byte>((void*)source, destination.Length).CopyTo(destination);
}
