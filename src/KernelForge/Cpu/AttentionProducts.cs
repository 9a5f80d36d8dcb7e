using System.Runtime.CompilerServices;

namespace KernelForge.Cpu;

/// <summary>
/// Scores of rows and keys: the keys of a tile lie with positions in lanes, element after element. A product of query and key is one chain of multiply-adds
/// from +0 over pairs of neighbouring elements, of a pair the odd one first (what vdpbf16ps does); then it is multiplied with the rate.
/// </summary>
internal static unsafe class AttentionProducts<TLanes> where TLanes : struct, ILanes<TLanes>
{
    private const int TileSize = AttentionRowMemory.TileSize;

    /// <summary>Four rows, all positions of a tile.</summary>
    /// <param name="queries">The first row's query, padded to whole vectors.</param>
    /// <param name="stride">Numbers from one query to the next.</param>
    /// <param name="keys">[dim, 64].</param>
    /// <param name="dim">Elements of a query; even.</param>
    /// <param name="rate">What products are multiplied with.</param>
    /// <param name="scores">[4, 64]; written.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void FourRows(float* queries, nint stride, float* keys, nint dim, float rate, float* scores)
    {
        TLanes a0 = TLanes.Fill(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
        TLanes c0 = a0, c1 = a0, c2 = a0, c3 = a0, d0 = a0, d1 = a0, d2 = a0, d3 = a0;
        float* qb = queries + stride, qc = qb + stride, qd = qc + stride;
        for (nint step = 0; step < dim; step++)
        {
            nint i = step ^ 1;
            float* key = keys + i * TileSize;
            TLanes k0 = TLanes.Load(key), k1 = TLanes.Load(key + 16), k2 = TLanes.Load(key + 32), k3 = TLanes.Load(key + 48);
            TLanes q = TLanes.Fill(queries[i]);
            (a0, a1, a2, a3) = (Fma(q, k0, a0), Fma(q, k1, a1), Fma(q, k2, a2), Fma(q, k3, a3));
            q = TLanes.Fill(qb[i]);
            (b0, b1, b2, b3) = (Fma(q, k0, b0), Fma(q, k1, b1), Fma(q, k2, b2), Fma(q, k3, b3));
            q = TLanes.Fill(qc[i]);
            (c0, c1, c2, c3) = (Fma(q, k0, c0), Fma(q, k1, c1), Fma(q, k2, c2), Fma(q, k3, c3));
            q = TLanes.Fill(qd[i]);
            (d0, d1, d2, d3) = (Fma(q, k0, d0), Fma(q, k1, d1), Fma(q, k2, d2), Fma(q, k3, d3));
        }

        TLanes rates = TLanes.Fill(rate);
        Store(a0 * rates, a1 * rates, a2 * rates, a3 * rates, scores);
        Store(b0 * rates, b1 * rates, b2 * rates, b3 * rates, scores + TileSize);
        Store(c0 * rates, c1 * rates, c2 * rates, c3 * rates, scores + 2 * TileSize);
        Store(d0 * rates, d1 * rates, d2 * rates, d3 * rates, scores + 3 * TileSize);
    }

    /// <summary>Four rows, sixteen positions: <paramref name="keys"/> and <paramref name="scores"/> start at the first of them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void FourRowsOfSixteen(float* queries, nint stride, float* keys, nint dim, float rate, float* scores)
    {
        TLanes a = TLanes.Fill(0), b = a, c = a, d = a;
        float* qb = queries + stride, qc = qb + stride, qd = qc + stride;
        for (nint step = 0; step < dim; step++)
        {
            nint i = step ^ 1;
            TLanes key = TLanes.Load(keys + i * TileSize);
            (a, b) = (Fma(TLanes.Fill(queries[i]), key, a), Fma(TLanes.Fill(qb[i]), key, b));
            (c, d) = (Fma(TLanes.Fill(qc[i]), key, c), Fma(TLanes.Fill(qd[i]), key, d));
        }

        TLanes rates = TLanes.Fill(rate);
        TLanes.Store(a * rates, scores);
        TLanes.Store(b * rates, scores + TileSize);
        TLanes.Store(c * rates, scores + 2 * TileSize);
        TLanes.Store(d * rates, scores + 3 * TileSize);
    }

    /// <summary>One row, all positions of a tile.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void OneRow(float* query, float* keys, nint dim, float rate, float* scores)
    {
        TLanes s0 = TLanes.Fill(0), s1 = s0, s2 = s0, s3 = s0;
        for (nint step = 0; step < dim; step++)
        {
            nint i = step ^ 1;
            float* key = keys + i * TileSize;
            TLanes q = TLanes.Fill(query[i]);
            (s0, s1) = (Fma(q, TLanes.Load(key), s0), Fma(q, TLanes.Load(key + 16), s1));
            (s2, s3) = (Fma(q, TLanes.Load(key + 32), s2), Fma(q, TLanes.Load(key + 48), s3));
        }

        TLanes rates = TLanes.Fill(rate);
        Store(s0 * rates, s1 * rates, s2 * rates, s3 * rates, scores);
    }

    /// <summary>One row, sixteen positions: <paramref name="keys"/> and <paramref name="scores"/> start at the first of them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void OneRowOfSixteen(float* query, float* keys, nint dim, float rate, float* scores)
    {
        TLanes sum = TLanes.Fill(0);
        for (nint step = 0; step < dim; step++)
        {
            nint i = step ^ 1;
            sum = Fma(TLanes.Fill(query[i]), TLanes.Load(keys + i * TileSize), sum);
        }

        TLanes.Store(sum * TLanes.Fill(rate), scores);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(TLanes s0, TLanes s1, TLanes s2, TLanes s3, float* scores)
    {
        TLanes.Store(s0, scores);
        TLanes.Store(s1, scores + 16);
        TLanes.Store(s2, scores + 32);
        TLanes.Store(s3, scores + 48);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes Fma(TLanes a, TLanes b, TLanes c) => TLanes.FusedMultiplyAdd(a, b, c);
}
