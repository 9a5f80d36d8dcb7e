using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Arguments of append_kv_*; the same fields in the same order as in append_kv.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct AppendKvArgs(
    nint Keys, nint Values, nint Slots, nint Cache, int KvHeads, int HeadDim, int BlockSize, int KeysStride, int ValuesStride);

internal sealed partial class CudaOperators
{
    private const int AppendKvThreads = 128; // THREADS in append_kv.cu

    /// <summary>Takes one 16-bit type. Slots are not read here, nor checked.</summary>
    protected override void AppendKvCore(in DeviceMatrix keys, in DeviceMatrix values, DeviceSpan<int> slots, in KvLayer cache)
    {
        DType type = SameHalf("AppendKv", keys, values, cache.Data);
        KvFormat format = cache.Format;
        var args = new AppendKvArgs(
            keys.Address, values.Address, slots.Address, cache.Data.Address, format.KvHeads, format.HeadDim, format.BlockSize,
            keys.RowStride, values.RowStride);
        Kernel("append_kv", type).Launch(grid: (keys.Rows, 2), block: AppendKvThreads, args);
    }
}
