using Xunit.Abstractions;

namespace KernelForge.Tests;

/// <summary>Verification runs on one multiprocessor, so what it does there is its time: counted by the emulator.</summary>
public sealed class VerifyDraftsCostTests(PrivateEmulator emulator, ITestOutputHelper output) : IClassFixture<PrivateEmulator>
{
    private const int Sequences = 1024;

    // A multiprocessor issues four instructions a clock: 2.9 us at 1.75 GHz of the 5 us wanted of it; the rest is the launch and waiting for memory.
    private const int MostInstructions = 20_000;

    [DeviceTheory]
    [InlineData("emulated-sm80")]
    [InlineData("emulated-sm90")]
    public void VerifyDrafts_OfChainsOfFour_TakesFewInstructions(string deviceName)
    {
        using CudaDevice device = Device.OpenCuda(deviceName == "emulated-sm80" ? 0 : 1, new CudaDeviceOptions { Driver = emulator.Driver });
        emulator.Set("count", "1");
        KernelCounters chains = Count(device, [0, 0, 1, 2, 3]), trees = Count(device, [0, 0, 0, 0, 1, 1, 2, 2, 3, 4, 4, 5, 8, 9, 10, 10]);
        Assert.InRange(chains.WarpInstructions, 1, MostInstructions);
        Assert.Equal((0, 0), (chains.SharedBankConflicts, trees.SharedBankConflicts));
    }

    /// <summary>Drafts of which four in five are right.</summary>
    private KernelCounters Count(CudaDevice device, int[] parents)
    {
        var random = new Random(2);
        var trees = new DraftTrees();
        for (int i = 0; i < Sequences; i++)
        {
            int[] chosen = [.. parents.Select(_ => random.Next(100))], tokens = [.. parents.Select(parent => random.Next(5) > 0 ? chosen[parent] : -1)];
            trees.Add(length: 500, parents, tokens, chosen, stops: [1000, 1001], maxLength: 1000);
        }

        using var memory = new DraftMemory(device, trees);
        emulator.ResetCounters();
        memory.Verify(device.Operators, blockSize: 16);
        device.Synchronize();
        KernelCounters counters = emulator.Counters["verify_drafts_i32"];
        output.WriteLine($"{Sequences} sequences of {parents.Length} nodes: {counters.WarpInstructions} instructions of warps, {counters.Barriers} barriers, " +
            $"{counters.GlobalBytesRead} bytes read in {counters.GlobalSectorsRead} sectors, {counters.GlobalBytesWritten} written in {counters.GlobalSectorsWritten}");
        return counters;
    }
}
