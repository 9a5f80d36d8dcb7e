using System.Runtime.InteropServices;
using KernelForge.Cpu;

namespace KernelForge.Tests;

/// <summary>A CPU that counts what goes to it and comes back.</summary>
internal sealed class CountingDevice : Device
{
    private readonly CpuThreads _threads = new(1);

    public CountingDevice() => Operators = new CpuOperators(this, _threads, CpuInstructionSets.Best, library: null);

    public int Uploads { get; set; }

    public int Downloads { get; set; }

    public override string Name => "counting CPU";

    public override bool IsCpu => true;

    public override Operators Operators { get; }

    public override void Synchronize() => throw new InvalidOperationException("a step does not wait but for its tokens");

    protected override void Dispose(bool disposing) => _threads.Dispose();

    protected override nint AllocateCore(long bytes) => Marshal.AllocHGlobal((nint)bytes);

    protected override void FreeCore(nint address) => Marshal.FreeHGlobal(address);

    protected internal override unsafe void CopyToDevice(ReadOnlySpan<byte> source, nint destination)
    {
        Uploads++;
        source.CopyTo(new Span<byte>((void*)destination, source.Length));
    }

    protected internal override unsafe void CopyToHost(nint source, Span<byte> destination)
    {
        Downloads++;
        new ReadOnlySpan<byte>((void*)source, destination.Length).CopyTo(destination);
    }
}
