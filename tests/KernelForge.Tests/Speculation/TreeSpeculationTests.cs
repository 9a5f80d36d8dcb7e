namespace KernelForge.Tests;

/// <summary>Token trees on a real model: whatever the trees are, tokens and the logits they were chosen from are those of plain decoding, bit for bit.</summary>
public class TreeSpeculationTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private const int ContextLength = Workload.ContextLength;

    // block size, blocks for branches, draft length, nodes for each token of it, chance that the right token is among a node's children, prefix groups
    [Theory]
    [InlineData(4, 200, 4, 2, 0.9, true)]
    [InlineData(4, 200, 8, 4, 1, false)]
    [InlineData(16, 200, 3, 3, 0.7, true)]
    [InlineData(1, 200, 4, 2, 0.8, true)]
    [InlineData(7, 5, 5, 3, 0.9, true)] // trees are cut
    [InlineData(16, 0, 4, 2, 0.9, true)] // nothing for branches: what is left are first children
    [InlineData(16, 200, 4, 4, 0, false)] // always wrong
    public void Tokens_RandomTrees_EqualPlainDecodingBitForBit(int blockSize, int branchBlocks, int draftLength, int nodes, double right, bool prefixGroups)
    {
        using TinyModel tiny = TinyModel.Create("llama");
        foreach (float temperature in (float[])[0, 0.8f])
        {
            List<Request> requests = Workload.Requests(samples: 2, temperature);
            TreeRun plain = TreeRun.Plain(tiny, Device.Cpu, DType.F32, requests);
            TreeRun trees = With(tiny, Device.Cpu, DType.F32, requests, plain, Options(blockSize, draftLength, nodes), branchBlocks, right, prefixGroups);

            trees.AssertSame(plain);
            Assert.Equal(right == 0, trees.Counters!.Accepted == 0);
            Assert.Equal(branchBlocks == 0 || blockSize == 1 && right == 0, trees.Counters.KvBytesMoved == 0);
        }
    }

    [DeviceTheory, MemberData(nameof(Devices.AllCuda), MemberType = typeof(Devices))]
    public void Tokens_RandomTreesOnCuda_EqualPlainDecodingBitForBit(string deviceName)
    {
        using TinyModel tiny = TinyModel.Create("qwen3", DType.BF16);
        List<Request> requests = [.. Workload.Requests(samples: 1, temperature: 0.8f, mostTokens: 6).Take(7)];
        TreeRun plain = TreeRun.Plain(tiny, devices.Open(deviceName), DType.BF16, requests);

        TreeRun trees = With(tiny, devices.Open(deviceName), DType.BF16, requests, plain, Options(blockSize: 4, draftLength: 3, nodes: 2), branchBlocks: 60, right: 0.9, prefixGroups: true);

        trees.AssertSame(plain);
        Assert.True(trees.Counters!.Accepted > 0 && trees.Counters.KvBytesMoved > 0);
    }

    [Fact]
    public void Tokens_PenaltiesCountDraftedTokens_EqualPlainDecoding()
    {
        using TinyModel tiny = TinyModel.Create("llama");
        List<Request> requests = [.. Enumerable.Range(1, 6).Select(i => new Request([5, 6, (int)i], new SamplingOptions
        {
            MaxTokens = 20, RepetitionPenalty = 1.3f, FrequencyPenalty = 0.4f, PresencePenalty = 0.2f, LogProbs = 2, MinTokens = i, LogitBias = new Dictionary<int, float> { [9] = 1 },
        }))];
        TreeRun plain = TreeRun.Plain(tiny, Device.Cpu, DType.F32, requests);

        With(tiny, Device.Cpu, DType.F32, requests, plain, Options(blockSize: 4, draftLength: 4, nodes: 3), branchBlocks: 100, right: 0.9, prefixGroups: true).AssertSame(plain);
    }

    [Fact]
    public void Forward_BranchesThatSeeTheirSiblings_ChangeTokens()
    {
        using TinyModel tiny = TinyModel.Create("llama");
        using var pass = new TreePass(tiny);
        var random = new Random(5);
        int changedByMask = 0, changedByBlocks = 0;
        for (int trial = 0; trial < 40; trial++)
        {
            int[] prompt = [.. Enumerable.Range(0, random.Next(3, 30)).Select(_ => random.Next(97))];
            DraftNode[] tree = [new(0, 1, -1), new(0, random.Next(2, 97), -1), new(2, random.Next(97), -1)];
            float[][] plain = [pass.Logits(prompt, tree[..1], TreeLayout.Paths)[1], .. pass.Logits(prompt, [tree[1], tree[2] with { Parent = 1 }], TreeLayout.Paths)[1..]];

            float[][] paths = pass.Logits(prompt, tree, TreeLayout.Paths)[1..], visible = pass.Logits(prompt, tree, TreeLayout.AllVisible)[1..];
            float[][] blocks = pass.Logits(prompt, tree, TreeLayout.OneSetOfBlocks)[1..];
            for (int node = 0; node < 3; node++) Close.AssertSameBits(plain[node], paths[node]);
            Assert.False(plain[2].AsSpan().SequenceEqual(visible[2]));
            Assert.False(plain[0].AsSpan().SequenceEqual(blocks[0]) && plain[1].AsSpan().SequenceEqual(blocks[1])); // one of two keys at one slot
            changedByMask += Best(plain[2]) == Best(visible[2]) ? 0 : 1;
            changedByBlocks += Best(plain[0]) == Best(blocks[0]) && Best(plain[1]) == Best(blocks[1]) ? 0 : 1;
        }
        Assert.InRange(changedByMask, 1, 40);
        Assert.InRange(changedByBlocks, 1, 40);

        static int Best(float[] logits) => Array.IndexOf(logits, logits.Max());
    }

    private static TreeRun With(
        TinyModel tiny, Device device, DType type, List<Request> requests, TreeRun plain, SchedulerOptions options, int branchBlocks, double right, bool prefixGroups) =>
        TreeRun.WithTrees(tiny, device, type, requests, options, new RandomTreeDrafter(options.MaxTokensPerStep - 1, right, plain.TokensOf), branchBlocks, prefixGroups);

    private static SchedulerOptions Options(int blockSize, int draftLength, int nodes) => new()
    {
        BlockCount = 3 * (ContextLength / blockSize + 1), // scarce: some are preempted
        BlockSize = blockSize,
        ContextLength = ContextLength,
        TokenBudget = 48,
        MaxSequences = 7,
        MaxTokensPerStep = 1 + draftLength,
        DraftNodes = nodes,
        Admission = new AggressiveAdmission(),
        EndTokenIds = [1],
    };
}
