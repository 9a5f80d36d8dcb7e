using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace KernelForge.Cpu;

/// <summary>
/// The innermost part of a dense product: a tile of rows of x times some panels over one chunk of k. A line of weights brings one or two k of sixteen outputs,
/// one to a lane, and is used for all rows of the tile, an element of x for all panels. <see cref="IPanelProduct"/> says the order of sums.
/// </summary>
/// <typeparam name="TLanes">Where there are many registers, a tile of 4 rows x 4 panels takes 16 for sums; else 4 rows x 1 panel take 8 halves.</typeparam>
/// <typeparam name="TWeight">float, Half, FiniteHalf or BFloat16.</typeparam>
internal static unsafe class DenseTile<TLanes, TWeight> where TLanes : struct, ILanes<TLanes> where TWeight : unmanaged
{
    private const int Line = PanelLayout.LineBytes / sizeof(uint);

    /// <summary>Bytes ahead of what a single row reads: more, and lines of eight panels push each other out of the first-level cache.</summary>
    private const int Ahead = 256;

    /// <summary>Words of a panel from one pair of neighbours along k to the next.</summary>
    private static int PairWords => typeof(TWeight) == typeof(float) ? 2 * Line : Line;

    /// <summary>Panels that are multiplied side by side with so many rows.</summary>
    public static int Panels(int rows) => TLanes.HasManyRegisters ? rows == 1 ? 8 : 4 : rows == 4 ? 1 : 4;

    /// <summary>Adds the sums of a chunk to those before it, or starts them.</summary>
    /// <param name="rows">4, 2 or 1.</param>
    /// <param name="panels">At least 1.</param>
    /// <param name="x">[k][rows].</param>
    /// <param name="run">The weights.</param>
    /// <param name="sums">[rows, stride].</param>
    /// <param name="stride">Floats from one row of sums to the next.</param>
    public static void Add(int rows, int panels, float* x, in DenseRun run, float* sums, int stride)
    {
        var at = new Place { Run = run, X = x, Sums = sums, Stride = stride };
        for (int side = Panels(rows), count; panels > 0; panels -= count, at.NextPanels(count))
        {
            count = panels >= side ? side : panels >= 4 && rows == 1 ? 4 : 1;
            if (count == 8) OneByEight(at);
            else if (rows == 4 && count == 4) FourByFour(at);
            else if (rows == 4) FourByOne(at);
            else if (rows == 2 && count == 4 && TLanes.HasManyRegisters) TwoByFour(at);
            else AddRows(rows, count, at);
        }
    }

    private static void AddRows(int rows, int panels, Place at)
    {
        for (int row = 0; row < rows; row++, at.X++, at.Sums += at.Stride)
            if (panels == 4) OneByFour(at, rows);
            else OneByOne(at, rows);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void FourByFour(in Place at)
    {
        TLanes a0 = TLanes.Fill(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
        TLanes c0 = a0, c1 = a0, c2 = a0, c3 = a0, d0 = a0, d1 = a0, d2 = a0, d3 = a0;
        uint* p0 = at.Run.Lines, p1 = p0 + at.Run.PanelWords, p2 = p1 + at.Run.PanelWords, p3 = p2 + at.Run.PanelWords;
        float* x = at.X;
        byte* next = at.Run.Next;
        nint panelBytes = at.Run.NextPanelBytes, step = at.Run.NextStep;
        for (nint i = at.Run.Pairs; i > 0; i--, x += 8, p0 += PairWords, p1 += PairWords, p2 += PairWords, p3 += PairWords)
        {
            Prefetch(next, panelBytes);
            Prefetch(next + 2 * panelBytes, panelBytes);
            next += step;
            TLanes w0 = Odd(p0), w1 = Odd(p1), w2 = Odd(p2), w3 = Odd(p3), v = TLanes.Fill(x + 4);
            (a0, a1, a2, a3) = (Fma(v, w0, a0), Fma(v, w1, a1), Fma(v, w2, a2), Fma(v, w3, a3));
            v = TLanes.Fill(x + 5);
            (b0, b1, b2, b3) = (Fma(v, w0, b0), Fma(v, w1, b1), Fma(v, w2, b2), Fma(v, w3, b3));
            v = TLanes.Fill(x + 6);
            (c0, c1, c2, c3) = (Fma(v, w0, c0), Fma(v, w1, c1), Fma(v, w2, c2), Fma(v, w3, c3));
            v = TLanes.Fill(x + 7);
            (d0, d1, d2, d3) = (Fma(v, w0, d0), Fma(v, w1, d1), Fma(v, w2, d2), Fma(v, w3, d3));

            (w0, w1, w2, w3, v) = (Even(p0), Even(p1), Even(p2), Even(p3), TLanes.Fill(x));
            (a0, a1, a2, a3) = (Fma(v, w0, a0), Fma(v, w1, a1), Fma(v, w2, a2), Fma(v, w3, a3));
            v = TLanes.Fill(x + 1);
            (b0, b1, b2, b3) = (Fma(v, w0, b0), Fma(v, w1, b1), Fma(v, w2, b2), Fma(v, w3, b3));
            v = TLanes.Fill(x + 2);
            (c0, c1, c2, c3) = (Fma(v, w0, c0), Fma(v, w1, c1), Fma(v, w2, c2), Fma(v, w3, c3));
            v = TLanes.Fill(x + 3);
            (d0, d1, d2, d3) = (Fma(v, w0, d0), Fma(v, w1, d1), Fma(v, w2, d2), Fma(v, w3, d3));
        }
        at.AddSums(0, a0, a1, a2, a3);
        at.AddSums(1, b0, b1, b2, b3);
        at.AddSums(2, c0, c1, c2, c3);
        at.AddSums(3, d0, d1, d2, d3);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void FourByOne(in Place at)
    {
        TLanes a = TLanes.Fill(0), b = a, c = a, d = a;
        uint* p = at.Run.Lines;
        float* x = at.X;
        byte* next = at.Run.Next;
        nint step = at.Run.NextStep;
        for (nint i = at.Run.Pairs; i > 0; i--, x += 8, p += PairWords)
        {
            Prefetch(next);
            next += step;
            TLanes w = Odd(p);
            (a, b, c, d) = (Fma(TLanes.Fill(x + 4), w, a), Fma(TLanes.Fill(x + 5), w, b), Fma(TLanes.Fill(x + 6), w, c), Fma(TLanes.Fill(x + 7), w, d));
            w = Even(p);
            (a, b, c, d) = (Fma(TLanes.Fill(x), w, a), Fma(TLanes.Fill(x + 1), w, b), Fma(TLanes.Fill(x + 2), w, c), Fma(TLanes.Fill(x + 3), w, d));
        }
        at.AddSum(0, 0, a);
        at.AddSum(1, 0, b);
        at.AddSum(2, 0, c);
        at.AddSum(3, 0, d);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void TwoByFour(in Place at)
    {
        TLanes a0 = TLanes.Fill(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
        uint* p0 = at.Run.Lines, p1 = p0 + at.Run.PanelWords, p2 = p1 + at.Run.PanelWords, p3 = p2 + at.Run.PanelWords;
        float* x = at.X;
        for (nint i = at.Run.Pairs; i > 0; i--, x += 4, p0 += PairWords, p1 += PairWords, p2 += PairWords, p3 += PairWords)
        {
            TLanes w0 = Odd(p0), w1 = Odd(p1), w2 = Odd(p2), w3 = Odd(p3), v = TLanes.Fill(x + 2);
            (a0, a1, a2, a3) = (Fma(v, w0, a0), Fma(v, w1, a1), Fma(v, w2, a2), Fma(v, w3, a3));
            v = TLanes.Fill(x + 3);
            (b0, b1, b2, b3) = (Fma(v, w0, b0), Fma(v, w1, b1), Fma(v, w2, b2), Fma(v, w3, b3));

            (w0, w1, w2, w3, v) = (Even(p0), Even(p1), Even(p2), Even(p3), TLanes.Fill(x));
            (a0, a1, a2, a3) = (Fma(v, w0, a0), Fma(v, w1, a1), Fma(v, w2, a2), Fma(v, w3, a3));
            v = TLanes.Fill(x + 1);
            (b0, b1, b2, b3) = (Fma(v, w0, b0), Fma(v, w1, b1), Fma(v, w2, b2), Fma(v, w3, b3));
        }
        at.AddSums(0, a0, a1, a2, a3);
        at.AddSums(1, b0, b1, b2, b3);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void OneByEight(in Place at)
    {
        TLanes a0 = TLanes.Fill(0), a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0;
        uint* p0 = at.Run.Lines, p4 = p0 + 4 * at.Run.PanelWords;
        nint words = at.Run.PanelWords, bytes = words * sizeof(uint);
        float* x = at.X;
        for (nint i = at.Run.Pairs; i > 0; i--, x += 2, p0 += PairWords, p4 += PairWords)
        {
            Prefetch((byte*)p0 + Ahead, bytes);
            Prefetch((byte*)p0 + Ahead + 2 * bytes, bytes);
            Prefetch((byte*)p4 + Ahead, bytes);
            Prefetch((byte*)p4 + Ahead + 2 * bytes, bytes);
            TLanes odd = TLanes.Fill(x + 1), even = TLanes.Fill(x);
            a0 = Fma(even, Even(p0), Fma(odd, Odd(p0), a0));
            a1 = Fma(even, Even(p0 + words), Fma(odd, Odd(p0 + words), a1));
            a2 = Fma(even, Even(p0 + 2 * words), Fma(odd, Odd(p0 + 2 * words), a2));
            a3 = Fma(even, Even(p0 + 3 * words), Fma(odd, Odd(p0 + 3 * words), a3));
            a4 = Fma(even, Even(p4), Fma(odd, Odd(p4), a4));
            a5 = Fma(even, Even(p4 + words), Fma(odd, Odd(p4 + words), a5));
            a6 = Fma(even, Even(p4 + 2 * words), Fma(odd, Odd(p4 + 2 * words), a6));
            a7 = Fma(even, Even(p4 + 3 * words), Fma(odd, Odd(p4 + 3 * words), a7));
        }
        at.AddSums(0, a0, a1, a2, a3);
        at.AddSum(0, 4, a4);
        at.AddSum(0, 5, a5);
        at.AddSum(0, 6, a6);
        at.AddSum(0, 7, a7);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void OneByFour(in Place at, nint rows)
    {
        TLanes a0 = TLanes.Fill(0), a1 = a0, a2 = a0, a3 = a0;
        uint* p0 = at.Run.Lines, p1 = p0 + at.Run.PanelWords, p2 = p1 + at.Run.PanelWords, p3 = p2 + at.Run.PanelWords;
        float* x = at.X;
        for (nint i = at.Run.Pairs; i > 0; i--, x += 2 * rows, p0 += PairWords, p1 += PairWords, p2 += PairWords, p3 += PairWords)
        {
            TLanes odd = TLanes.Fill(x + rows), even = TLanes.Fill(x);
            a0 = Fma(even, Even(p0), Fma(odd, Odd(p0), a0));
            a1 = Fma(even, Even(p1), Fma(odd, Odd(p1), a1));
            a2 = Fma(even, Even(p2), Fma(odd, Odd(p2), a2));
            a3 = Fma(even, Even(p3), Fma(odd, Odd(p3), a3));
        }
        at.AddSums(0, a0, a1, a2, a3);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void OneByOne(in Place at, nint rows)
    {
        TLanes a = TLanes.Fill(0);
        uint* p = at.Run.Lines;
        float* x = at.X;
        for (nint i = at.Run.Pairs; i > 0; i--, x += 2 * rows, p += PairWords) a = Fma(TLanes.Fill(x), Even(p), Fma(TLanes.Fill(x + rows), Odd(p), a));
        at.AddSum(0, 0, a);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes Odd(uint* pair) => typeof(TWeight) == typeof(float) ? TLanes.Load((float*)(pair + Line)) : TLanes.LoadUpper<TWeight>(pair);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes Even(uint* pair) => typeof(TWeight) == typeof(float) ? TLanes.Load((float*)pair) : TLanes.LoadLower<TWeight>(pair);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes Fma(TLanes x, TLanes weights, TLanes sum) => TLanes.FusedMultiplyAdd(x, weights, sum);

    /// <summary>Asks for a pair of two panels. Memory and arithmetic overlap where every tile asks for a share, which hardware does not foresee.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Prefetch(byte* pair, nint panelBytes)
    {
        Prefetch(pair);
        Prefetch(pair + panelBytes);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Prefetch(byte* pair)
    {
        if (!Sse.IsSupported) return;
        Sse.Prefetch0(pair);
        if (typeof(TWeight) == typeof(float)) Sse.Prefetch0(pair + PanelLayout.LineBytes);
    }

    /// <summary>What a tile reads, and where its sums are.</summary>
    private struct Place
    {
        public DenseRun Run;
        public float* X, Sums;
        public int Stride;

        public void NextPanels(int count)
        {
            Run.Lines += count * Run.PanelWords;
            Run.Next += count * Run.NextPanelBytes;
            Sums += count * Lanes.Count;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly void AddSum(int row, int panel, TLanes sum)
        {
            float* at = Sums + row * Stride + panel * Lanes.Count;
            TLanes.Store(Run.IsFirst ? sum : TLanes.Load(at) + sum, at);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly void AddSums(int row, TLanes s0, TLanes s1, TLanes s2, TLanes s3)
        {
            AddSum(row, 0, s0);
            AddSum(row, 1, s1);
            AddSum(row, 2, s2);
            AddSum(row, 3, s3);
        }
    }
}

/// <summary>Some panels over one chunk of k.</summary>
internal unsafe struct DenseRun
{
    /// <summary>The chunk's first line of the first panel.</summary>
    public uint* Lines;

    /// <summary>Words from one panel to the next.</summary>
    public nint PanelWords;

    /// <summary>Pairs of k.</summary>
    public int Pairs;

    /// <summary>Whether there are no sums before these.</summary>
    public bool IsFirst;

    /// <summary>Weights of the next chunk, of which a tile of four rows asks for a share while it computes.</summary>
    public byte* Next;

    /// <summary>Bytes from one panel of the next chunk to the next panel.</summary>
    public nint NextPanelBytes;

    /// <summary>Bytes that a tile asks for with each pair of this chunk, of each panel.</summary>
    public int NextStep;
}
