using Xunit.Abstractions;

namespace KernelForge.Tests;

/// <summary>
/// Wide items by warpgroup products on compute capability 9.0, against the kernel by mma.sync on the same bits. <see cref="WideAttentionTests"/> holds both to the
/// definition.
/// </summary>
public sealed class WideAttentionWgmmaTests(PrivateEmulator emulator, ITestOutputHelper output) : IClassFixture<PrivateEmulator>
{
    private const string Kernel = "wide_attention_wgmma";
    private const int PrefixTokens = 200;

    // Decode, chunks of prefill, more rows than an item takes, and a sequence alone; no length is a multiple of anything.
    private static readonly SharedPart[] Forest =
    [
        new SharedPrefix(512, new SharedPrefix(256, new OwnSuffix(3), new OwnSuffix(141, Queries: 60)), new OwnSuffix(77, Queries: 33)),
        new OwnSuffix(301, Queries: 40),
    ];

    private CudaDevice Open(bool usesWarpgroups) =>
        (CudaDevice)Device.OpenCuda(1, new CudaDeviceOptions { Driver = emulator.Driver, UsesWarpgroups = usesWarpgroups });

    [DeviceTheory]
    [InlineData("emulated-sm90", 8)]
    [InlineData("emulated-sm90", 16)]
    [InlineData("emulated-sm90", 32)]
    [InlineData("emulated-sm90", 64)]
    [InlineData("emulated-sm90", 128)]
    [InlineData("emulated-sm90", 256)]
    public void Attention_BlocksThatTileARun_AreReadByTensorMap(string deviceName, int blockSize)
    {
        _ = deviceName;
        AssertSameBits(new KvFormat(blockSize, 2, 64, DType.BF16), queryHeads: 6, seed: blockSize);
    }

    [DeviceTheory]
    [InlineData("emulated-sm90", 4)]
    [InlineData("emulated-sm90", 48)]
    [InlineData("emulated-sm90", 192)]
    public void Attention_OtherBlocks_AreLeftToMmaSync(string deviceName, int blockSize)
    {
        _ = deviceName;
        var format = new KvFormat(blockSize, 1, 64, DType.F16);
        using CudaDevice device = Open(usesWarpgroups: true);
        using var shared = new SharedSequences(device, format, queryHeads: 2, seed: 1, range: 2, new OwnSuffix(70, Queries: 40));
        _ = shared.Attend(DType.F16, DType.F16, new AttentionPlanner(shared.Cache.PlannerOptions()));
        Assert.DoesNotContain(Kernel, device.Launches.ToString(), StringComparison.Ordinal);
    }

    [DeviceTheory]
    [InlineData("emulated-sm90", 64)]
    [InlineData("emulated-sm90", 88)]
    [InlineData("emulated-sm90", 128)]
    [InlineData("emulated-sm90", 256)]
    public void Attention_LanesOneByOne_GiveTheSameBits(string deviceName, int headDim)
    {
        _ = deviceName;
        emulator.Set("single_lanes", "1");
        try
        {
            AssertSameBits(new KvFormat(16, 1, headDim, DType.F16), queryHeads: 2, seed: 3);
        }
        finally
        {
            emulator.Set("single_lanes", "0");
        }
    }

    [DeviceTheory]
    [InlineData("emulated-sm90")]
    public void Attention_AnyOrderOfWarps_GivesTheSameBits(string deviceName)
    {
        _ = deviceName;
        emulator.Set("order", "random");
        foreach (int seed in (int[])[1, 2, 3, 4])
        {
            emulator.Set("seed", $"{seed}");
            AssertSameBits(new KvFormat(32, 1, 96, DType.BF16), queryHeads: 3, seed, window: seed % 2 * 150, softCap: seed / 3);
        }
    }

    [DeviceTheory]
    [InlineData("emulated-sm90", DType.F16, 64, 1)]
    [InlineData("emulated-sm90", DType.BF16, 72, 3)]
    [InlineData("emulated-sm90", DType.F16, 128, 4)]
    [InlineData("emulated-sm90", DType.BF16, 256, 1)]
    public void PrefixAttention_DensePrefix_IsReadByTensorMap(string deviceName, DType type, int headDim, int group)
    {
        _ = deviceName;
        foreach (int prefix in (int[])[1, 127, 128, 130, 640, 701])
        {
            (float[] expected, float[] expectedLse) = AttendToPrefix(usesWarpgroups: false, type, headDim, group, prefix);
            (float[] actual, float[] lse) = AttendToPrefix(usesWarpgroups: true, type, headDim, group, prefix);
            Close.AssertSameBits(expected, actual);
            Close.AssertSameBits(expectedLse, lse);
        }
    }

    [DeviceTheory]
    [InlineData("emulated-sm90", 64)]
    [InlineData("emulated-sm90", 96)]
    [InlineData("emulated-sm90", 128)]
    [InlineData("emulated-sm90", 256)]
    public void PrefixAttention_OfATile_ReadsItOnceAnItem(string deviceName, int headDim)
    {
        _ = deviceName;
        const int tile = 128, tilesOfSplit = 4, kvHeads = 2, warps = 4;
        int warpgroups = (PrefixTokens + 63) / 64, items = headDim > 128 ? warpgroups : (warpgroups + 1) / 2;
        KernelCounters[] counters = [.. Enumerable.Range(0, 2).Select(more => Count(headDim, (tilesOfSplit - 1 + more) * tile)), Count(headDim, (tilesOfSplit + 1) * tile)];
        KernelCounters three = counters[0], four = counters[1], five = counters[2];

        Assert.All(counters, counter => Assert.Equal(0, counter.SharedBankConflicts));
        Assert.Equal(2L * sizeof(ushort) * kvHeads * items * tile * headDim, four.GlobalBytesRead - three.GlobalBytesRead);
        Assert.Equal((long)kvHeads * warpgroups * warps * (2 * tile / 8 * headDim / 16), four.MmaInstructions - three.MmaInstructions);

        double consumers = kvHeads * warpgroups * warps, ofTile = (four.WarpInstructions - three.WarpInstructions) / consumers;
        output.WriteLine($"head_dim {headDim}: {ofTile:F0} warp instructions a tile, {(five.WarpInstructions - four.WarpInstructions) / consumers - ofTile:F0} more where a split ends");
    }

    private KernelCounters Count(int headDim, int prefix)
    {
        emulator.Set("count", "1");
        emulator.ResetCounters();
        _ = AttendToPrefix(usesWarpgroups: true, DType.F16, headDim, group: 1, prefix, PrefixTokens);
        return emulator.Counters[$"{Kernel}_f16_{headDim}"];
    }

    /// <summary>The forest with what a planner makes of it, by both kernels.</summary>
    private void AssertSameBits(KvFormat format, int queryHeads, int seed, int window = 0, float softCap = 0)
    {
        float[][] expected = Attend(usesWarpgroups: false), actual = Attend(usesWarpgroups: true);
        for (int s = 0; s < expected.Length; s++) Close.AssertSameBits(expected[s], actual[s]);

        float[][] Attend(bool usesWarpgroups)
        {
            using CudaDevice device = Open(usesWarpgroups);
            using var shared = new SharedSequences(device, format, queryHeads, seed, range: 2, Forest);
            float[][] result = shared.Attend(format.DType, DType.F32, new AttentionPlanner(shared.Cache.PlannerOptions(window)), softCap);
            Assert.Equal(usesWarpgroups, device.Launches.ToString().Contains(Kernel, StringComparison.Ordinal));
            return result;
        }
    }

    /// <summary>Tokens over a prefix of two key/value heads whose rows are apart.</summary>
    private (float[] Out, float[] Lse) AttendToPrefix(bool usesWarpgroups, DType type, int headDim, int group, int prefix, int tokens = 37)
    {
        const int kvHeads = 2;
        int columns = kvHeads * headDim;
        using CudaDevice device = Open(usesWarpgroups);
        using var queries = new GuardedMatrix(device, type, tokens, group * columns, Numbers.Uniform(1, tokens * group * columns, 2), gap: 8);
        using var keys = new GuardedMatrix(device, type, prefix, columns, Numbers.Uniform(2, prefix * columns, 2), gap: 16);
        using var values = new GuardedMatrix(device, type, prefix, columns, Numbers.Uniform(3, prefix * columns, 2), gap: 16);
        using GuardedMatrix result = new(device, DType.F32, tokens, group * columns, gap: 3), lse = new(device, DType.F32, tokens, group * kvHeads, gap: 1);
        device.Operators.PrefixAttention(queries, keys, values, kvHeads, 1 / MathF.Sqrt(headDim), new AttentionState(result, lse));
        result.AssertUntouchedAround();
        lse.AssertUntouchedAround();
        Assert.Equal(usesWarpgroups, device.Launches.ToString().Contains(Kernel, StringComparison.Ordinal));
        return (result.Get(), lse.Get());
    }
}
