using System.Runtime.InteropServices;

namespace KernelForge.Tests;

/// <summary>The emulator counts what small kernels do, to the byte. The numbers are worked out by hand.</summary>
public sealed class EmulatorCountersTests(PrivateEmulator emulator) : IClassFixture<PrivateEmulator>
{
    private const string DeviceName = "emulated-sm80";

    // 2 blocks of 64 threads, 4 warps, read and write 4 bytes each. Side by side, a warp's 128 bytes are 4 sectors; 8 floats apart, each of its 32 floats has its own sector.
    [DeviceTheory]
    [InlineData(DeviceName, 1, 4 * 4, 0)]
    [InlineData(DeviceName, 2, 4 * 8, 4)]
    [InlineData(DeviceName, 8, 4 * 32, 4)]
    public void Copy_OfStride_CountsBytesAndSectors(string deviceName, int stride, int sectorsRead, int uncoalesced)
    {
        KernelCounters counters = Run(deviceName, "count_copy", blocks: 2, threads: 64, inputs: 128 * stride, outputs: 128, stride);

        Assert.Equal(1, counters.Launches);
        Assert.Equal((128 * 4, 128 * 4), (counters.GlobalBytesRead, counters.GlobalBytesWritten));
        Assert.Equal((sectorsRead, 4 * 4), (counters.GlobalSectorsRead, counters.GlobalSectorsWritten));
        Assert.Equal(uncoalesced, counters.UncoalescedAccesses);
        Assert.Equal((0, 0, 0), (counters.SharedBytesRead, counters.SharedBytesWritten, counters.SharedBankConflicts));
        Assert.Equal([(128L * 4, 0L), (0L, 128L * 4)], counters.Buffers.Select(buffer => (buffer.BytesRead, buffer.BytesWritten)));
        Assert.Equal(32 * counters.WarpInstructions, counters.ThreadInstructions);
        Assert.Equal(counters.ThreadInstructions, counters.Opcodes.Values.Sum());
    }

    // 1 warp moves 512 bytes, 16 sectors, with one instruction each way.
    [DeviceTheory, InlineData(DeviceName)]
    public void CopyOfVectors_CountsFullSectors(string deviceName)
    {
        KernelCounters counters = Run(deviceName, "count_copy_vectors", blocks: 1, threads: 32, inputs: 128, outputs: 128, stride: 1);

        Assert.Equal((512, 512, 16, 16, 0),
            (counters.GlobalBytesRead, counters.GlobalBytesWritten, counters.GlobalSectorsRead, counters.GlobalSectorsWritten, counters.UncoalescedAccesses));
    }

    // 32 banks of 4 bytes: floats n apart share banks n by n, so an access takes n passes, n - 1 more than it should; once to write, once to read.
    [DeviceTheory]
    [InlineData(DeviceName, 1, 0)]
    [InlineData(DeviceName, 2, 2 * 1)]
    [InlineData(DeviceName, 8, 2 * 7)]
    [InlineData(DeviceName, 32, 2 * 31)]
    [InlineData(DeviceName, 33, 0)]
    public void Shared_OfStride_CountsBankConflicts(string deviceName, int stride, int conflicts)
    {
        KernelCounters counters = Run(deviceName, "count_shared", blocks: 1, threads: 32, inputs: 32, outputs: 32, stride, dynamicSharedBytes: 32 * stride * 4);

        Assert.Equal((128, 128, conflicts), (counters.SharedBytesRead, counters.SharedBytesWritten, counters.SharedBankConflicts));
        Assert.Equal(1, counters.Barriers);
    }

    // 2 blocks of 2 warps, 3 products for each warp, 2 additions for each thread.
    [DeviceTheory, InlineData(DeviceName)]
    public void MmaAndAtomics_AreCounted(string deviceName)
    {
        KernelCounters counters = Run(deviceName, "count_mma_and_atomics", blocks: 2, threads: 64, inputs: 1, outputs: 2, stride: 1, outputIsZero: true);

        Assert.Equal(2 * 2 * 3, counters.MmaInstructions);
        Assert.Equal(2 * 64 * 2, counters.Atomics);
    }

    [DeviceTheory, InlineData(DeviceName)]
    public void Reset_ForgetsWhatWasCounted(string deviceName)
    {
        _ = Run(deviceName, "count_copy", blocks: 1, threads: 32, inputs: 32, outputs: 32, stride: 1);

        emulator.ResetCounters();

        Assert.Empty(emulator.Counters.Kernels);
    }

    private KernelCounters Run(
        string deviceName, string kernel, int blocks, int threads, int inputs, int outputs, int stride, int dynamicSharedBytes = 0, bool outputIsZero = false)
    {
        emulator.Set("count", "1");
        emulator.ResetCounters();
        using DriverSession session = emulator.Open(deviceName);
        nint input = session.Upload<float>(new float[inputs]), output = outputIsZero ? session.Upload<float>(new float[outputs]) : session.Allocate(outputs * sizeof(float));
        var args = new CountedArgs(input, output, stride);
        session.Check(session.Launch(session.Kernel("counted", kernel), blocks, threads, args, dynamicSharedBytes));
        session.Check(session.Driver.CtxSynchronize());
        return emulator.Counters[kernel];
    }

    [StructLayout(LayoutKind.Sequential)]
    private readonly record struct CountedArgs(nint Input, nint Output, int Stride);
}
