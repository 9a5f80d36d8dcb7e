using Xunit.Abstractions;

namespace KernelForge.Tests;

/// <summary>What the kernels of a plan read of the cache, counted by the emulator to the byte: shared keys and values once, and nothing besides the plan.</summary>
public sealed class AttentionReadsTests(PrivateEmulator emulator, ITestOutputHelper output) : IClassFixture<PrivateEmulator>
{
    private static readonly KvFormat Format = new(16, 2, 64, DType.BF16);

    // A prefix of all, two below it, a group without a common prefix with others, one alone; 4 rows for a sequence and kv head.
    private static readonly SharedPart[] Forest =
    [
        new SharedPrefix(336, new SharedPrefix(224, Suffixes(6)), new SharedPrefix(48, Suffixes(3)), new OwnSuffix(20)),
        new SharedPrefix(1040, Suffixes(4)),
        new OwnSuffix(150),
    ];

    public static TheoryData<string, int> HeadDims => Cases.Of<string, int>(["emulated-sm80", "emulated-sm90"], [64, 96, 128, 256]);

    [DeviceTheory]
    [InlineData("emulated-sm80")]
    [InlineData("emulated-sm90")]
    public void DecodeStep_OfSharedPrefixes_ReadsThemOnce(string deviceName)
    {
        using Device device = Open(deviceName);
        using var shared = new SharedSequences(device, Format, queryHeads: 8, seed: 1, range: 1, Forest);
        emulator.Set("count", "1");
        AttentionReads all = Measure(shared, AttentionSharing.All), none = Measure(shared, AttentionSharing.Off);

        int once = Forest.Sum(PositionsOf), tile = device.Operators.AttentionTiling(Format).TileSize;
        Assert.InRange(all.Positions, once, once + (tile - 1) * Forest.Sum(part => ReadersAndLevels(part)));
        Assert.Equal(shared.Sequences.Sum(sequence => sequence.First + sequence.Count), none.Positions);
        Assert.Equal(none.Positions, all.PositionsUnshared);
    }

    [DeviceTheory]
    [MemberData(nameof(HeadDims))]
    public void NarrowItems_OfAnyHeadDim_HaveNoBankConflicts(string deviceName, int headDim)
    {
        using Device device = Open(deviceName);
        emulator.Set("count", "1");
        (KernelCounters shorter, KernelCounters longer) = (Narrow(256), Narrow(384));
        Assert.Equal((0, 0), (shorter.SharedBankConflicts, longer.SharedBankConflicts));
        output.WriteLine($"for 64 positions: {(longer.WarpInstructions - shorter.WarpInstructions) / 2} instructions, {(longer.MmaInstructions - shorter.MmaInstructions) / 2} mma");

        KernelCounters Narrow(int length)
        {
            using var shared = new SharedSequences(device, new KvFormat(16, 1, headDim, DType.F16), queryHeads: 4, seed: 1, range: 1, new OwnSuffix(length));
            emulator.ResetCounters();
            _ = shared.Attend(DType.F16, DType.F16, new AttentionPlanner(shared.Cache.PlannerOptions()));
            return emulator.Counters[$"narrow_attention_f16_{headDim}"];
        }
    }

    private CudaDevice Open(string deviceName) => Device.OpenCuda(deviceName == "emulated-sm80" ? 0 : 1, new CudaDeviceOptions { Driver = emulator.Driver });

    private static OwnSuffix[] Suffixes(int count) => [.. Enumerable.Range(0, count).Select(i => new OwnSuffix(5 + 37 * i))];

    /// <summary>Positions, those of prefixes once.</summary>
    private static int PositionsOf(SharedPart part) => part is SharedPrefix prefix ? prefix.Length + prefix.Children.Sum(PositionsOf) : ((OwnSuffix)part).Length;

    /// <summary>Sequences, each as often as there are prefixes above it.</summary>
    private static int ReadersAndLevels(SharedPart part, int levels = 0) =>
        part is SharedPrefix prefix ? prefix.Children.Sum(child => ReadersAndLevels(child, levels + 1)) : levels;

    /// <summary>Runs a step, prints what each kernel did, and holds the bytes that they read of the cache to the plan.</summary>
    private AttentionReads Measure(SharedSequences shared, AttentionSharing sharing)
    {
        var planner = new AttentionPlanner(shared.Cache.PlannerOptions() with { Sharing = sharing });
        emulator.ResetCounters();
        _ = shared.Attend(DType.BF16, DType.BF16, planner);
        nint cache = shared.Cache.Layer.Data.Address;
        long read = 0;
        output.WriteLine($"{sharing}: {planner.Reads}");
        foreach ((string kernel, KernelCounters counters) in emulator.Counters.Kernels)
        {
            BufferCounters ofCache = counters.Buffers.SingleOrDefault(b => b.Address <= cache && cache < b.Address + b.Bytes) ?? new BufferCounters(0, 0, 0, 0, 0);
            read += ofCache.BytesRead;
            output.WriteLine($"{kernel,-28}{ofCache.BytesRead,12} bytes of the cache{counters.GlobalBytesRead,12} read{counters.GlobalBytesWritten,12} written" +
                $"{counters.MmaInstructions,8} mma{counters.WarpInstructions,10} instructions{counters.SharedBankConflicts,6} bank conflicts");
        }
        Assert.Equal(planner.Reads.Bytes, read);
        return planner.Reads;
    }
}
