using BenchmarkDotNet.Attributes;
using KernelForge.Cpu;

namespace KernelForge.Bench;

/// <summary>What it costs to hand a work to threads and to wait for them: an empty one, with a part for each thread. More threads than cores take turns.</summary>
public class DispatchBench
{
    private const int Runs = 1_000;

    private CpuThreads _threads = null!;

    public static IEnumerable<int> ThreadCounts => new[] { 1, 2, Environment.ProcessorCount, 2 * Environment.ProcessorCount }.Distinct();

    [ParamsSource(nameof(ThreadCounts))]
    public int Threads { get; set; }

    [ParamsAllValues]
    public bool Pin { get; set; }

    [GlobalSetup]
    public void Open() => _threads = new CpuThreads(Threads, CpuTopology.Read(), Pin);

    [GlobalCleanup]
    public void Close() => _threads.Dispose();

    [Benchmark(OperationsPerInvoke = Runs)]
    public void Run()
    {
        var nothing = new Nothing();
        for (int run = 0; run < Runs; run++) _threads.Run(ref nothing, Threads);
    }

    private readonly struct Nothing : IParallelWork
    {
        public void Run(int part, int parts)
        {
        }
    }
}
