using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Arguments of pack_weights_*; the same fields in the same order as in pack_weights.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct PackWeightsArgs(
    nint Source, nint Up, nint Order, nint Codes, nint Scales, nint Zeros, int Columns, int K, int GroupSize, int Stride, int WordOrder, int Padding);

internal sealed partial class CudaOperators
{
    private const int PackThreads = 256, PackWarps = PackThreads / WarpSize; // as in pack_weights.cu

    protected override void PackWeightsCore(in DeviceMatrix weights, PackedWeights packed)
    {
        PackWeightsArgs args = PackArgs(packed) with { Source = weights.Address, Stride = weights.RowStride };
        PackedLayout layout = packed.Layout;
        Kernel("pack_weights", weights.DType, PackVariant(packed) + "_grids").Launch(
            grid: (layout.Tiles * PackedLayout.Tile / PackWarps, layout.Groups), block: PackThreads, args);
        Kernel("pack_weights", weights.DType, PackVariant(packed)).Launch(grid: (layout.Blocks, layout.Tiles), block: PackThreads, args);
    }

    /// <summary>Scales, zero points and order come from the host: they are few.</summary>
    protected override void PackWordsCore(WordMatrix words, WordMatrix? up, PackedWeights packed)
    {
        Packing.WriteGroups(packed, words.Scales, up?.Scales, words.Zeros, up?.Zeros, words.Order);
        PackWeightsArgs args = PackArgs(packed) with
        {
            Source = words.Address, Up = up?.Address ?? 0, Stride = words.WordsOfRow, WordOrder = (int)words.WordOrder,
        };
        Kernel("pack_weights", DType.I32, PackVariant(packed)).Launch(grid: (packed.Layout.Blocks, packed.Layout.Tiles), block: PackThreads, args);
    }

    private static PackWeightsArgs PackArgs(PackedWeights packed)
    {
        PackedLayout layout = packed.Layout;
        nint codes = packed.Buffer.Address, zeros = packed.Format.HasZeroPoints ? codes + (nint)layout.ZerosOffset : 0;
        nint order = packed.HasOrder ? codes + (nint)layout.OrderOffset : 0;
        return new(0, 0, order, codes, codes + (nint)layout.ScalesOffset, zeros, layout.N, layout.K, layout.Format.GroupSize, 0, 0, 0);
    }

    private static string PackVariant(PackedWeights packed) => packed.Format.Bits == 4 ? "w4" : "w8";
}
