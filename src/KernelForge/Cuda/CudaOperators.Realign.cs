using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Arguments of realign_*; the same fields in the same order as in realign.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct RealignArgs(
    RealignAddresses Layers, nint Moves, nint Groups, int KvHeads, int HeadDim, int BlockSize, int Padding);

/// <summary>Addresses of the caches of a launch; those behind its layers are not read.</summary>
[InlineArray(Count)]
internal struct RealignAddresses
{
    public const int Count = 128; // LAYERS in realign.cu

    private nint _first;
}

internal sealed partial class CudaOperators
{
    private const int RealignThreads = 128; // THREADS in realign.cu

    /// <summary>Takes one 16-bit type. Moves and groups are not read here, nor checked.</summary>
    protected override void RealignCore(ReadOnlySpan<KvLayer> layers, DeviceSpan<KvMove> moves, DeviceSpan<int> groups)
    {
        CudaKernel kernel = Kernel("realign", SameHalf("Realign", layers[0].Data));
        KvFormat format = layers[0].Format;
        int vectors = CeilDiv(format.KvHeads * format.HeadDim, 16 / format.DType.Size());
        for (int first = 0; first < layers.Length; first += RealignAddresses.Count)
        {
            var addresses = new RealignAddresses();
            int count = Math.Min(layers.Length - first, RealignAddresses.Count);
            for (int i = 0; i < count; i++) addresses[i] = layers[first + i].Data.Address;
            var args = new RealignArgs(addresses, moves.Address, groups.Address, format.KvHeads, format.HeadDim, format.BlockSize, 0);
            kernel.Launch(grid: new Dim3(groups.Length - 1, CeilDiv(vectors, RealignThreads), count), block: RealignThreads, args);
        }
    }
}
