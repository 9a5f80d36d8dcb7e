using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Arguments of realign_padded_*; the same fields in the same order as in realign_padded.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct RealignPaddedArgs(
    RealignAddresses Before, RealignAddresses After, nint Tokens, nint Contents, nint Length, nint Gained, nint Counts,
    nint TokensAfter, nint PositionsAfter, nint MaskAfter, nint ContentsAfter, nint LengthAfter,
    int Layers, int Sequences, int Heads, int HeadDim, int Capacity, int CapacityAfter, int MostGained, int PadsRight, int PadToken, int Padding);

internal sealed partial class CudaOperators
{
    private const int RealignPaddedThreads = 256, RealignPaddedLayers = RealignAddresses.Count / 2; // THREADS and LAYERS in realign_padded.cu: keys and values are apart

    /// <summary>Takes one 16-bit type. Lengths are not read here, nor checked.</summary>
    protected override void RealignPaddedCore(
        in PaddedBatch batch, ReadOnlySpan<PaddedLayer> layers, DeviceSpan<int> gained, DeviceSpan<int> counts,
        in PaddedBatch result, ReadOnlySpan<PaddedLayer> resultLayers)
    {
        DType type = layers.IsEmpty ? DType.F16 : SameHalf("RealignPadded", layers[0].Keys);
        int heads = Heads(batch, layers), first = 0;
        var args = new RealignPaddedArgs(
            default, default, batch.Tokens.Address, batch.ContentLengths.Address, batch.Length.Address, gained.Address, counts.Address,
            result.Tokens.Address, result.Positions.Address, result.Mask.Address, result.ContentLengths.Address, result.Length.Address,
            0, batch.Sequences, heads, layers.IsEmpty ? 0 : layers[0].Keys.Columns, batch.Capacity, result.Capacity, gained.Length / batch.Sequences,
            batch.Side == PaddingSide.Right ? 1 : 0, result.PadToken, 0);
        do
        {
            int count = Math.Min(layers.Length - first, RealignPaddedLayers);
            args = args with { Before = AddressesOf(layers.Slice(first, count)), After = AddressesOf(resultLayers.Slice(first, count)), Layers = count };
            int ofTokens = first == 0 ? 1 : 0;
            Kernel("realign_padded", type).Launch(grid: new Dim3(batch.Sequences * Math.Max(1, heads), 2, count + ofTokens), block: RealignPaddedThreads, args);
            first += count;
        }
        while (first < layers.Length);
        Kernel("realign_padded", type, "lengths").Launch(grid: 1, block: RealignPaddedThreads, args);
    }

    private static RealignAddresses AddressesOf(ReadOnlySpan<PaddedLayer> layers)
    {
        var addresses = new RealignAddresses();
        for (int i = 0; i < layers.Length; i++) (addresses[2 * i], addresses[2 * i + 1]) = (layers[i].Keys.Address, layers[i].Values.Address);
        return addresses;
    }
}
