using System.Runtime.CompilerServices;

namespace KernelForge.Cpu;

/// <summary>
/// Outputs of rows: output · decay, then + weight · value in the order of the positions. <typeparamref name="T"/> is what values are read as: float, Half or
/// BFloat16.
/// </summary>
internal static unsafe class AttentionValues<TLanes, T> where TLanes : struct, ILanes<TLanes> where T : unmanaged
{
    private const int TileSize = AttentionRowMemory.TileSize;

    /// <summary>Four rows that see the same positions, all columns.</summary>
    /// <param name="weights">[4, 64].</param>
    /// <param name="values">Addresses of the values of a tile's positions.</param>
    /// <param name="first">Position, counted from the start of the tile.</param>
    /// <param name="end">Position behind the last one.</param>
    /// <param name="decays">Of the four rows.</param>
    /// <param name="outputs">[4, columns].</param>
    /// <param name="columns">A multiple of sixteen.</param>
    public static void FourRows(float* weights, nint* values, int first, int end, float* decays, float* outputs, int columns)
    {
        int column = 0;
        for (; column <= columns - 4 * Lanes.Count; column += 4 * Lanes.Count) FourRowsOf64(weights, values, first, end, decays, outputs, columns, column);
        for (; column < columns; column += Lanes.Count) FourRowsOfSixteen(weights, values, first, end, decays, outputs, columns, column);
    }

    /// <summary>One row, all columns.</summary>
    public static void OneRow(float* weights, nint* values, int first, int end, float decay, float* output, int columns)
    {
        int column = 0;
        for (; column <= columns - 4 * Lanes.Count; column += 4 * Lanes.Count) OneRowOf64(weights, values, first, end, decay, output, column);
        for (; column < columns; column += Lanes.Count) OneRowOfSixteen(weights, values, first, end, decay, output, column);
    }

    /// <summary>64 columns of four rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void FourRowsOf64(float* weights, nint* values, nint first, nint end, float* decays, float* outputs, nint stride, nint column)
    {
        float* oa = outputs + column, ob = oa + stride, oc = ob + stride, od = oc + stride;
        TLanes decay = TLanes.Fill(decays[0]);
        TLanes a0 = TLanes.Load(oa) * decay, a1 = TLanes.Load(oa + 16) * decay, a2 = TLanes.Load(oa + 32) * decay, a3 = TLanes.Load(oa + 48) * decay;
        decay = TLanes.Fill(decays[1]);
        TLanes b0 = TLanes.Load(ob) * decay, b1 = TLanes.Load(ob + 16) * decay, b2 = TLanes.Load(ob + 32) * decay, b3 = TLanes.Load(ob + 48) * decay;
        decay = TLanes.Fill(decays[2]);
        TLanes c0 = TLanes.Load(oc) * decay, c1 = TLanes.Load(oc + 16) * decay, c2 = TLanes.Load(oc + 32) * decay, c3 = TLanes.Load(oc + 48) * decay;
        decay = TLanes.Fill(decays[3]);
        TLanes d0 = TLanes.Load(od) * decay, d1 = TLanes.Load(od + 16) * decay, d2 = TLanes.Load(od + 32) * decay, d3 = TLanes.Load(od + 48) * decay;
        for (nint j = first; j < end; j++)
        {
            T* value = (T*)values[j] + column;
            TLanes v0 = TLanes.Load(value), v1 = TLanes.Load(value + 16), v2 = TLanes.Load(value + 32), v3 = TLanes.Load(value + 48);
            TLanes weight = TLanes.Fill(weights[j]);
            (a0, a1, a2, a3) = (Fma(weight, v0, a0), Fma(weight, v1, a1), Fma(weight, v2, a2), Fma(weight, v3, a3));
            weight = TLanes.Fill(weights[TileSize + j]);
            (b0, b1, b2, b3) = (Fma(weight, v0, b0), Fma(weight, v1, b1), Fma(weight, v2, b2), Fma(weight, v3, b3));
            weight = TLanes.Fill(weights[2 * TileSize + j]);
            (c0, c1, c2, c3) = (Fma(weight, v0, c0), Fma(weight, v1, c1), Fma(weight, v2, c2), Fma(weight, v3, c3));
            weight = TLanes.Fill(weights[3 * TileSize + j]);
            (d0, d1, d2, d3) = (Fma(weight, v0, d0), Fma(weight, v1, d1), Fma(weight, v2, d2), Fma(weight, v3, d3));
        }

        Store(a0, a1, a2, a3, oa);
        Store(b0, b1, b2, b3, ob);
        Store(c0, c1, c2, c3, oc);
        Store(d0, d1, d2, d3, od);
    }

    /// <summary>Sixteen columns of four rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void FourRowsOfSixteen(float* weights, nint* values, nint first, nint end, float* decays, float* outputs, nint stride, nint column)
    {
        float* oa = outputs + column, ob = oa + stride, oc = ob + stride, od = oc + stride;
        TLanes a = TLanes.Load(oa) * TLanes.Fill(decays[0]), b = TLanes.Load(ob) * TLanes.Fill(decays[1]);
        TLanes c = TLanes.Load(oc) * TLanes.Fill(decays[2]), d = TLanes.Load(od) * TLanes.Fill(decays[3]);
        for (nint j = first; j < end; j++)
        {
            TLanes value = TLanes.Load((T*)values[j] + column);
            (a, b) = (Fma(TLanes.Fill(weights[j]), value, a), Fma(TLanes.Fill(weights[TileSize + j]), value, b));
            (c, d) = (Fma(TLanes.Fill(weights[2 * TileSize + j]), value, c), Fma(TLanes.Fill(weights[3 * TileSize + j]), value, d));
        }

        TLanes.Store(a, oa);
        TLanes.Store(b, ob);
        TLanes.Store(c, oc);
        TLanes.Store(d, od);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void OneRowOf64(float* weights, nint* values, nint first, nint end, float decay, float* output, nint column)
    {
        output += column;
        TLanes decays = TLanes.Fill(decay);
        TLanes o0 = TLanes.Load(output) * decays, o1 = TLanes.Load(output + 16) * decays;
        TLanes o2 = TLanes.Load(output + 32) * decays, o3 = TLanes.Load(output + 48) * decays;
        for (nint j = first; j < end; j++)
        {
            T* value = (T*)values[j] + column;
            TLanes weight = TLanes.Fill(weights[j]);
            (o0, o1) = (Fma(weight, TLanes.Load(value), o0), Fma(weight, TLanes.Load(value + 16), o1));
            (o2, o3) = (Fma(weight, TLanes.Load(value + 32), o2), Fma(weight, TLanes.Load(value + 48), o3));
        }

        Store(o0, o1, o2, o3, output);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void OneRowOfSixteen(float* weights, nint* values, nint first, nint end, float decay, float* output, nint column)
    {
        TLanes o = TLanes.Load(output + column) * TLanes.Fill(decay);
        for (nint j = first; j < end; j++) o = Fma(TLanes.Fill(weights[j]), TLanes.Load((T*)values[j] + column), o);
        TLanes.Store(o, output + column);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(TLanes o0, TLanes o1, TLanes o2, TLanes o3, float* output)
    {
        TLanes.Store(o0, output);
        TLanes.Store(o1, output + 16);
        TLanes.Store(o2, output + 32);
        TLanes.Store(o3, output + 48);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes Fma(TLanes a, TLanes b, TLanes c) => TLanes.FusedMultiplyAdd(a, b, c);
}
