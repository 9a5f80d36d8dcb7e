using System.Runtime.CompilerServices;

namespace KernelForge.Cpu;

/// <summary>The tile without vectors, one element after the other: the plainest form of the order of summation.</summary>
internal readonly unsafe struct MatMulTileScalar : IMatMulTile
{
    public static int Rows => 1;

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void AddChunk<T>(int rows, float* x, T* weights, nint weightStride, int length, float* totals, int totalStride, bool isFirst)
        where T : unmanaged
    {
        float* lanes = stackalloc float[Lanes.Count];
        for (int column = 0; column < IMatMulTile.Columns; column++)
        {
            T* row = weights + column * weightStride;
            new Span<float>(lanes, Lanes.Count).Clear();
            for (int k = 0; k < length; k += Lanes.Count)
                for (int lane = 0; lane < Lanes.Count; lane++)
                    lanes[lane] = MathF.FusedMultiplyAdd(x[k + lane], Widen.One(row[k + lane]), lanes[lane]);

            for (int half = Lanes.Count / 2; half > 0; half /= 2)
                for (int lane = 0; lane < half; lane++)
                    lanes[lane] += lanes[lane + half];
            totals[column] = isFirst ? lanes[0] : totals[column] + lanes[0];
        }
    }
}
