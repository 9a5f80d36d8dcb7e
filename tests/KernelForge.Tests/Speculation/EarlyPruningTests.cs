namespace KernelForge.Tests;

/// <summary>Token trees that lose nodes in the middle of the pass: tokens and logits are those of plain decoding, whatever is dropped.</summary>
public class EarlyPruningTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private const int Everything = 1000; // more tokens than there are

    // tokens kept, block size, blocks for branches, draft length, nodes for each token of it, chance that the right token is among a node's children, prefix groups
    [Theory]
    [InlineData(1, 4, 200, 4, 2, 0.9, true)]
    [InlineData(3, 4, 200, 8, 4, 1, false)]
    [InlineData(10, 16, 200, 3, 3, 0.7, true)]
    [InlineData(40, 1, 200, 4, 2, 0.8, true)]
    [InlineData(20, 7, 5, 5, 3, 0.9, true)] // trees are cut
    [InlineData(30, 16, 0, 4, 2, 0.9, true)] // nothing for branches: chains
    [InlineData(5, 16, 200, 4, 4, 0, false)] // always wrong
    [InlineData(Everything, 4, 200, 4, 4, 0.9, true)]
    public void Tokens_PrunedTrees_EqualPlainDecodingBitForBit(
        int keep, int blockSize, int branchBlocks, int draftLength, int nodes, double right, bool prefixGroups)
    {
        using TinyModel tiny = TinyModel.Create("llama");
        foreach (float temperature in (float[])[0, 0.8f])
        {
            List<Request> requests = Workload.Requests(samples: 2, temperature);
            TreeRun plain = TreeRun.Plain(tiny, Device.Cpu, DType.F32, requests);

            TreeRun pruned = Run(tiny, Device.Cpu, DType.F32, requests, plain, TreeRun.Scarce(blockSize, draftLength, nodes), branchBlocks, right, keep, prefixGroups);

            pruned.AssertSame(plain);
            Assert.Equal(keep == Everything, pruned.Counters!.Pruned == 0);
        }
    }

    [DeviceTheory, MemberData(nameof(Devices.AllCuda), MemberType = typeof(Devices))]
    public void Tokens_PrunedTreesOnCuda_EqualPlainDecodingBitForBit(string deviceName)
    {
        using TinyModel tiny = TinyModel.Create("qwen3", DType.BF16);
        List<Request> requests = [.. Workload.Requests(samples: 1, temperature: 0.8f, mostTokens: 6).Take(5)];
        TreeRun plain = TreeRun.Plain(tiny, devices.Open(deviceName), DType.BF16, requests);

        TreeRun pruned = Run(tiny, devices.Open(deviceName), DType.BF16, requests, plain, TreeRun.Scarce(4, 3, 2), branchBlocks: 60, right: 0.9, keep: 30, prefixGroups: true);

        pruned.AssertSame(plain);
        Assert.True(pruned.Counters!.Accepted > 0 && pruned.Counters.Pruned > 0);
    }

    // What the first layer of this model predicts is what the second would choose: right tokens stay, and nothing else.
    [Theory]
    [InlineData(0)]
    [InlineData(0.8f)]
    public void Pruned_LayersBehindAddNothing_AllButWhatIsAccepted(float temperature)
    {
        using TinyModel tiny = TinyModel.Create("llama", idleLayer: 1);
        List<Request> requests = [.. Workload.Requests(samples: 2, temperature).Where(request => request.Sampling.MinTokens == 0)];
        TreeRun plain = TreeRun.Plain(tiny, Device.Cpu, DType.F32, requests);

        TreeRun all = Run(tiny, Device.Cpu, DType.F32, requests, plain, TreeRun.Scarce(4, 4, 3), branchBlocks: 200, right: 0.9, Everything, prefixGroups: true);
        TreeRun pruned = Run(tiny, Device.Cpu, DType.F32, requests, plain, TreeRun.Scarce(4, 4, 3), branchBlocks: 200, right: 0.9, keep: 1, prefixGroups: true);

        pruned.AssertSame(plain);
        Assert.Equal(all.Counters!.Accepted, pruned.Counters!.Accepted);
        long stayed = pruned.Counters.Drafted - pruned.Counters.Pruned, accepted = pruned.Counters.Accepted;
        Assert.InRange(stayed, accepted, accepted + 4 * requests.Count); // a token that ends an answer stays, but the target model adds it itself
        Assert.True(pruned.Counters.KvBytesMoved < all.Counters.KvBytesMoved);
    }

    [Fact]
    public void Tokens_PenaltiesAndLogProbs_EqualPlainDecoding()
    {
        using TinyModel tiny = TinyModel.Create("llama");
        List<Request> requests = [.. Enumerable.Range(1, 6).Select(i => new Request([5, 6, i], new SamplingOptions
        {
            MaxTokens = 20, RepetitionPenalty = 1.3f, FrequencyPenalty = 0.4f, PresencePenalty = 0.2f, LogProbs = 2, MinTokens = i, LogitBias = new Dictionary<int, float> { [9] = 1 },
        }))];
        TreeRun plain = TreeRun.Plain(tiny, Device.Cpu, DType.F32, requests);

        Run(tiny, Device.Cpu, DType.F32, requests, plain, TreeRun.Scarce(4, 4, 3), branchBlocks: 100, right: 0.9, keep: 20, prefixGroups: true).AssertSame(plain);
    }

    [Fact]
    public void Logits_OthersGoOnThanThoseThatStay_AreWrong()
    {
        using TinyModel tiny = TinyModel.Create("llama");
        using var pass = new TreePass(tiny);
        int[] text = [3, 4, 5, 6, 7];
        float[][] all = pass.Pruned(text, [0, 1, 2, 3, 4]), two = pass.Pruned(text, [0, 1]), others = pass.Pruned(text, [0, 2]);

        for (int i = 0; i < 2; i++) Close.AssertSameBits(all[i], two[i]);
        Assert.NotEqual(all[1], others[1]);
    }

    [Fact]
    public void Create_TooManyLayers_SaysHowMany()
    {
        using TinyModel tiny = TinyModel.Create("llama");

        var error = Assert.Throws<ArgumentException>(() => Run(tiny, Device.Cpu, DType.F32, [], TreeRun.Plain(tiny, Device.Cpu, DType.F32, []), TreeRun.Scarce(4, 4, 3), 0, 0, 1, true, layers: 2));

        Assert.StartsWith("EarlyPruning.Layers must be 1 to 1 for a model of 2 layers, not 2.", error.Message, StringComparison.Ordinal);
    }

    private static TreeRun Run(
        TinyModel tiny, Device device, DType type, List<Request> requests, TreeRun plain, SchedulerOptions options, int branchBlocks, double right, int keep,
        bool prefixGroups, int layers = 1)
    {
        var drafter = new RandomTreeDrafter(options.MaxTokensPerStep - 1, right, plain.TokensOf);
        return TreeRun.WithTrees(tiny, device, type, requests, options, drafter, branchBlocks, prefixGroups, new EarlyPruning(layers, keep));
    }
}
