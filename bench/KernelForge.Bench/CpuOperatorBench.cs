using BenchmarkDotNet.Attributes;
using KernelForge.Cpu;

namespace KernelForge.Bench;

/// <summary>An operator on a CPU device with one thread and with one per core.</summary>
public abstract class CpuOperatorBench : OperatorBench
{
    public static IEnumerable<int> ThreadCounts => new[] { 1, Environment.ProcessorCount }.Distinct();

    [ParamsSource(nameof(ThreadCounts), Priority = 1)]
    public int Threads { get; set; }

    /// <summary>What the operator rounds its x to.</summary>
    internal virtual ActivationPrecision Activations => ActivationPrecision.Full;

    internal override Ceiling Ceiling => Ceilings.Of(Threads, Activations);

    /// <summary>As many threads as the device has, for a baseline.</summary>
    private protected CpuThreads BaselineThreads { get; private set; } = null!;

    protected override Device OpenDevice()
    {
        Ceilings.Measure(Threads);
        BaselineThreads = new CpuThreads(Threads);
        return Device.OpenCpu(new CpuDeviceOptions { Threads = Threads });
    }

    protected override void CloseDevice()
    {
        BaselineThreads.Dispose();
        Device.Dispose();
    }
}
