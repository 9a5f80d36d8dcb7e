namespace KernelForge.Tests;

/// <summary>What realignment reads and writes, counted by the emulator to the byte: what is moved, once each way, and nothing of what stays.</summary>
public sealed class RealignCountersTests(PrivateEmulator emulator) : IClassFixture<PrivateEmulator>
{
    [DeviceTheory]
    [InlineData("emulated-sm80", 64)]
    [InlineData("emulated-sm80", 18)]
    [InlineData("emulated-sm90", 64)]
    public void Realign_MovesEachByteOnce(string deviceName, int headDim)
    {
        using CudaDevice device = Open(deviceName);
        var format = new KvFormat(4, 3, headDim, DType.F16);
        using var cache = new GuardedMatrix(device, DType.F16, 5 * format.RowsPerBlock, headDim);
        using DeviceBuffer moves = device.Upload<int>([2, 1, 3, 2, 9, 4, 6, 6, 15, 15]), groups = device.Upload<int>([0, 3, 3, 5]);
        KernelCounters counters = Count(device, () => device.Operators.Realign([new KvLayer(cache, format)], moves.AsSpan<int>().As<KvMove>(), groups.AsSpan<int>()));

        long moved = 3 * 2 * format.KvHeads * headDim * sizeof(ushort); // the last two moves stay where they are
        BufferCounters ofCache = Assert.Single(counters.Buffers, buffer => buffer.Address <= cache.Matrix.Address && cache.Matrix.Address < buffer.Address + buffer.Bytes);
        Assert.Equal((moved, moved), (ofCache.BytesRead, ofCache.BytesWritten));
        Assert.Equal(moved, counters.GlobalBytesWritten);
    }

    /// <summary>Sequence 0 gains most and stays, sequence 1 moves, and what it leaves becomes zero; with equal gains nothing moves at all.</summary>
    [DeviceTheory]
    [InlineData("emulated-sm80", 64)]
    [InlineData("emulated-sm80", 7)]
    [InlineData("emulated-sm90", 64)]
    public void RealignPadded_MovesWhatChangesColumnsOnly(string deviceName, int headDim)
    {
        using CudaDevice device = Open(deviceName);
        using var memory = new PaddedMemory(device, new PaddedShape(2, 3, headDim, 1, 12, DType.F16, PaddingSide.Left));
        memory.SetTokens([[1, 2, 3, 4, 5], [6, 7, 8]], 5);
        using DeviceBuffer gained = device.Upload<int>(new int[8]), unequal = device.Upload<int>([4, 1]), equal = device.Upload<int>([2, 2]);
        PaddedLayer layer = memory.Layers[0];
        const int moved = 3 + 1 - 1, cleared = 4 - 1;

        Assert.Equal((moved, moved + cleared), ColumnsOf(unequal));
        memory.SetTokens([[1, 2, 3, 4, 5], [6, 7, 8]], 5);
        Assert.Equal((0, 0), ColumnsOf(equal));

        // Columns of a sequence that were read and written, keys and values of all heads.
        (long Read, long Written) ColumnsOf(DeviceBuffer counts)
        {
            KernelCounters counters = Count(device, () => device.Operators.RealignPadded(memory.Batch, [layer], gained.AsSpan<int>(), counts.AsSpan<int>()));
            int bytes = 3 * headDim * sizeof(ushort);
            BufferCounters[] sides = [.. new[] { layer.Keys, layer.Values }.SelectMany(matrix =>
                counters.Buffers.Where(buffer => buffer.Address <= matrix.Address && matrix.Address < buffer.Address + buffer.Bytes))];
            long read = sides.Sum(side => side.BytesRead), written = sides.Sum(side => side.BytesWritten);
            Assert.Equal((0, 0), (read % (2 * bytes), written % (2 * bytes)));
            return (read / (2 * bytes), written / (2 * bytes));
        }
    }

    private CudaDevice Open(string deviceName) => Device.OpenCuda(deviceName == "emulated-sm80" ? 0 : 1, new CudaDeviceOptions { Driver = emulator.Driver });

    /// <summary>What the kernel of a call that moves did.</summary>
    private KernelCounters Count(CudaDevice device, Action call)
    {
        emulator.Set("count", "1");
        emulator.ResetCounters();
        call();
        device.Synchronize();
        return Assert.Single(emulator.Counters.Kernels, kernel => kernel.Key is "realign_f16" or "realign_padded_f16").Value;
    }
}
