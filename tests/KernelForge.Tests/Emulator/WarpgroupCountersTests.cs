using System.Runtime.InteropServices;

namespace KernelForge.Tests;

/// <summary>What the copy engine moves and wgmma multiplies is counted as the rest is.</summary>
public sealed class WarpgroupCountersTests(PrivateEmulator emulator) : IClassFixture<PrivateEmulator>
{
    private const int Rows = 64, Columns = 128, Depth = 64;

    // A and B once by TMA. 4 steps of 4 warps with 128 columns are 16 products of 8 columns each, by wgmma, and once more by mma.sync.
    [DeviceTheory, InlineData("emulated-sm90")]
    public void Product_CountsTilesAndProducts(string deviceName)
    {
        emulator.Set("count", "1");
        using DriverSession session = emulator.Open(deviceName);
        nint a = session.Upload<ushort>(new ushort[Rows * Depth]), b = session.Upload<ushort>(new ushort[Columns * Depth]);
        var args = new Args
        {
            A = TensorMaps.Encode(session, a, DType.F16, [Depth, Rows], [2 * Depth], [64, 64], 3),
            B = TensorMaps.Encode(session, b, DType.F16, [Depth, Columns], [2 * Depth], [64, 64], 3),
            Wgmma = session.Allocate(Rows * Columns * sizeof(float)), Mma = session.Allocate(Rows * Columns * sizeof(float)),
        };
        emulator.ResetCounters();

        session.Check(session.Launch(session.Kernel("sm90", "conform_wgmma_shared_f16"), 1, 128, args, 3 * 64 * 128));
        session.Check(session.Driver.CtxSynchronize());

        KernelCounters counters = emulator.Counters["conform_wgmma_shared_f16"];
        Assert.Equal((Rows + Columns) * Depth * 2, counters.GlobalBytesRead);
        Assert.Equal((Rows + Columns) * Depth * 2 / 32, counters.GlobalSectorsRead);
        Assert.Equal([Rows * Depth * 2L, Columns * Depth * 2L], counters.Buffers.Where(buffer => buffer.BytesRead > 0).Select(buffer => buffer.BytesRead));
        Assert.Equal(2 * 4 * 4 * 16, counters.MmaInstructions);
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Args
    {
        public CudaTensorMap A, B;
        public nint Wgmma, Mma;
    }
}
