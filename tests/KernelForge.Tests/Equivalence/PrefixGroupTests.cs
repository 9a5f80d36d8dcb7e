namespace KernelForge.Tests;

/// <summary>
/// Prompts that share long prefixes in two levels, which the matrix has not: with prefix groups attention reads them together, and logits keep their bits.
/// </summary>
public sealed class PrefixGroupTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private const int ContextLength = 800;

    /// <summary>Budget of a step; few tokens cut prompts into chunks, which then share prefixes too.</summary>
    public static TheoryData<int, int> Budgets => new() { { 40, 16 }, { 256, 4 }, { 256, 16 } };

    [Theory, MemberData(nameof(Budgets))]
    public void PrefixGroups_TwoLevelsPastASplit_ChangeNoBitAndSaveReads(int budget, int blockSize)
    {
        List<Request> requests = Requests(trunk: 560, branch: 70, tokens: 12);
        Answers groups = Run(Device.Cpu, requests, budget, blockSize, prefixGroups: true), apart = Run(Device.Cpu, requests, budget, blockSize, prefixGroups: false);
        AssertSame(apart, groups);
        Assert.True(groups.Reads.BytesSaved > groups.Reads.BytesUnshared / 2, $"{groups.Reads}");
        Assert.Equal(0, apart.Reads.BytesSaved);
        Assert.Equal(apart.Reads.BytesUnshared, groups.Reads.BytesUnshared);
    }

    [DeviceTheory, MemberData(nameof(CudaNames))]
    public void PrefixGroups_OnCuda_ChangeNoBitAndSaveReads(string deviceName)
    {
        Device device = devices.Open(deviceName);
        List<Request> requests = Requests(trunk: 130, branch: 0, tokens: 3);
        Answers groups = Run(device, requests, 256, 16, prefixGroups: true);
        AssertSame(Run(device, requests, 256, 16, prefixGroups: false), groups);
        Assert.True(groups.Reads.BytesSaved > 0, $"{groups.Reads}");
    }

    public static TheoryData<string> CudaNames => [.. Devices.CudaNames];

    private static void AssertSame(Answers expected, Answers actual)
    {
        Assert.Equal(expected.Tokens, actual.Tokens);
        Assert.Equal(expected.Logits.Count, actual.Logits.Count);
        foreach ((var key, float[] logits) in expected.Logits) Close.AssertSameBits(logits, actual.Logits[key]);
    }

    private static Answers Run(Device device, List<Request> requests, int budget, int blockSize, bool prefixGroups)
    {
        using TinyModel tiny = TinyModel.Create("llama", DType.BF16);
        var options = new SchedulerOptions
        {
            BlockCount = 12 * ContextLength / blockSize, BlockSize = blockSize, ContextLength = ContextLength, TokenBudget = budget, MaxSequences = 16,
        };
        using var run = new ModelRun(tiny, options, device, device.IsCpu ? null : DType.BF16, prefixGroups: prefixGroups);
        IReadOnlyList<Sequence> sequences = run.Run(requests);
        return new Answers([.. sequences.Select(sequence => string.Join(' ', sequence.OutputTokens.ToArray()))], run.Logits, run.KvReads);
    }

    private static List<Request> Requests(int trunk, int branch, int tokens)
    {
        var random = new Random(3);
        int[] common = Tokens(trunk);
        int[][] branches = [Tokens(branch), Tokens(branch)];
        return [.. Enumerable.Range(0, 8).Select(i => new Request(
            [.. common, .. branches[i % 2], .. Tokens(1 + 5 * i)], new SamplingOptions { MaxTokens = tokens, IgnoreEndToken = true }))];

        int[] Tokens(int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(2, 97))];
    }

    private sealed record Answers(List<string> Tokens, Dictionary<(Request Request, int Sample, int Position), float[]> Logits, KvReads Reads);
}
