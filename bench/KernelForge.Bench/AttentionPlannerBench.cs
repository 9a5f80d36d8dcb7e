using BenchmarkDotNet.Attributes;

namespace KernelForge.Bench;

/// <summary>
/// Planning the attention of a decode step on the host: 1,024 sequences in 64 groups and three levels, a prefix of 2,048 tokens (1,024 of all, 512 of 8 groups
/// of groups, 512 of a group), 100 to 200 tokens of their own, blocks of 16.
/// </summary>
[MemoryDiagnoser(displayGenColumns: false)]
[IterationTime(500)] // until the code is compiled as it stays
[WarmupCount(20)]
public class AttentionPlannerBench
{
    private const int Sequences = 1024, Groups = 64, BlockSize = 16, Prefix = 2048 / BlockSize, Own = 16;

    private readonly int[] _queryOffsets = new int[Sequences + 1], _contexts = new int[Sequences];
    private readonly int[] _blockOffsets = new int[Sequences + 1], _blockTables = new int[Sequences * (Prefix + Own)];
    private AttentionPlanner _planner = null!;

    [Params(AttentionSharing.Best, AttentionSharing.Greedy)]
    public AttentionSharing Sharing { get; set; }

    [GlobalSetup]
    public void MakeStep()
    {
        var random = new Random(1);
        for (int s = 0; s < Sequences; s++)
        {
            int group = s % Groups; // sequences of a group are not neighbours
            _contexts[s] = 2048 + random.Next(100, 200);
            (_queryOffsets[s + 1], _blockOffsets[s + 1]) = (s + 1, (s + 1) * (Prefix + Own));
            Span<int> table = _blockTables.AsSpan(_blockOffsets[s], Prefix + Own);
            for (int i = 0; i < table.Length; i++)
                table[i] = i < 64 ? i : i < 96 ? 1000 + group % 8 * 32 + i : i < Prefix ? 2000 + group * 32 + i : 10_000 + s * Own + i;
        }
        var tiling = new AttentionTiling(64, 512, 128, 16, 132, 136);
        _planner = new AttentionPlanner(new AttentionPlannerOptions(new KvFormat(BlockSize, 8, 128, DType.BF16), 40_000, 32, tiling) { Sharing = Sharing });
    }

    /// <summary>A step that has nothing to do with the one before.</summary>
    [Benchmark(Baseline = true)]
    public int Anew()
    {
        _contexts[0] ^= 64; // tells the planner that this is another step
        Plan();
        return _planner.Memory.Length;
    }

    /// <summary>The next step of the same sequences.</summary>
    [Benchmark]
    public int Reused()
    {
        Plan();
        return _planner.Memory.Length;
    }

    private void Plan() => _planner.Plan(_queryOffsets, _contexts, _blockOffsets, _blockTables);
}
