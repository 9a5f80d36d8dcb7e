using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace KernelForge.Cpu;

/// <summary>
/// The innermost part of a product with packed weights: a tile of rows of x times four panels over one block of k. Codes become exact whole numbers in registers and are
/// used for all rows of the tile. <see cref="IPanelProduct"/> says the order of sums.
/// </summary>
/// <remarks>
/// A code becomes code − zero by two steps: its bits are put below those of a power of two that is large enough for one unit of its place to be 1, then that power plus the
/// zero is subtracted, which is exact. So no code needs a shift of its own, and constant places no variable one.
/// </remarks>
/// <typeparam name="TLanes">Where there are many registers, a tile of 4 rows x 4 panels takes 16 for sums; else 4 rows x 1 panel take 8 halves.</typeparam>
/// <typeparam name="TCodes">Of the weights.</typeparam>
internal static unsafe class PackedTile<TLanes, TCodes> where TLanes : struct, ILanes<TLanes> where TCodes : struct, IPackedCodes
{
    /// <summary>Panels that are multiplied side by side.</summary>
    public const int Panels = 4;

    private const int Width = PanelLayout.LineBytes / sizeof(uint);
    private const int WordsAhead = 2048; // 8 KiB: what comes after some hundred nanoseconds

    /// <summary>Words from one line to the next; four lines of F32 count as one.</summary>
    private static int Line
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => TCodes.Bits == 32 ? 4 * Width : Width;
    }

    /// <summary>Fours of neighbours along k in a word.</summary>
    private static int Fours
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => TCodes.Pairs / 2;
    }

    /// <summary>Words of a panel in a block.</summary>
    private static int PanelWords
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => PackedLayout.Tile / (2 * TCodes.Pairs) * Line;
    }

    /// <summary>Adds the sums of a block to totals.</summary>
    /// <param name="rows">4, 2 or 1.</param>
    /// <param name="block">The weights.</param>
    /// <param name="x">[128][rows].</param>
    /// <param name="totals">[rows, stride].</param>
    /// <param name="stride">Floats from one row of totals to the next.</param>
    public static void Add(int rows, in PackedBlock block, float* x, float* totals, nint stride)
    {
        if (rows == 4 && TLanes.HasManyRegisters) FourByFour(block, x, totals, stride);
        else if (rows == 4)
            for (int panel = 0; panel < Panels; panel++) FourByOne(block, panel, x, totals + panel * Lanes.Count, stride);
        else if (rows == 2 && TLanes.HasManyRegisters) TwoByFour(block, x, totals, stride);
        else
            for (int row = 0; row < rows; row++) OneByFour(block, x + row, rows, totals + row * stride);
    }

    /// <summary>Copies the weights of a block, code less zero, as F32: for many rows, each tile of which would have to do it again.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static PackedBlock Widen(in PackedBlock block, float* wide)
    {
        uint* p = block.Lines;
        float* to = wide;
        for (int panel = 0; panel < Panels; panel++)
            for (int group = 0; group < block.Groups; group++)
            {
                var zeros = new Zeros(block, group, panel);
                for (int line = block.GroupLines; line > 0; line--, p += Line)
                {
                    TLanes words = Words(p);
                    int four = 0;
                    do
                    {
                        TLanes.Store(First(p, words, zeros), to);
                        TLanes.Store(Second(p, words, zeros), to + Width);
                        TLanes.Store(Third(p, words, zeros), to + 2 * Width);
                        TLanes.Store(Fourth(p, words, zeros), to + 3 * Width);
                        to += 4 * Width;
                        words = Next(words);
                    }
                    while (++four < Fours);
                }
            }
        return block with { Lines = (uint*)wide, GroupLines = block.GroupLines * Fours };
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void FourByFour(in PackedBlock block, float* x, float* totals, nint stride)
    {
        uint* p0 = block.Lines, p1 = p0 + PanelWords, p2 = p1 + PanelWords, p3 = p2 + PanelWords;
        for (int group = 0; group < block.Groups; group++)
        {
            Zeros z0 = new(block, group, 0), z1 = new(block, group, 1), z2 = new(block, group, 2), z3 = new(block, group, 3);
            TLanes a0 = TLanes.Fill(0), a1 = a0, a2 = a0, a3 = a0;
            TLanes b0 = a0, b1 = a0, b2 = a0, b3 = a0;
            TLanes c0 = a0, c1 = a0, c2 = a0, c3 = a0;
            TLanes d0 = a0, d1 = a0, d2 = a0, d3 = a0;
            for (int line = block.GroupLines; line > 0; line--, p0 += Line, p1 += Line, p2 += Line, p3 += Line)
            {
                TLanes s0 = Words(p0), s1 = Words(p1), s2 = Words(p2), s3 = Words(p3);
                int four = 0;
                do
                {
                    TLanes w0 = Second(p0, s0, z0), w1 = Second(p1, s1, z1), w2 = Second(p2, s2, z2), w3 = Second(p3, s3, z3);
                    TLanes.AddProducts(x[4], w0, w1, w2, w3, ref a0, ref a1, ref a2, ref a3);
                    TLanes.AddProducts(x[5], w0, w1, w2, w3, ref b0, ref b1, ref b2, ref b3);
                    TLanes.AddProducts(x[6], w0, w1, w2, w3, ref c0, ref c1, ref c2, ref c3);
                    TLanes.AddProducts(x[7], w0, w1, w2, w3, ref d0, ref d1, ref d2, ref d3);
                    (w0, w1, w2, w3) = (First(p0, s0, z0), First(p1, s1, z1), First(p2, s2, z2), First(p3, s3, z3));
                    TLanes.AddProducts(x[0], w0, w1, w2, w3, ref a0, ref a1, ref a2, ref a3);
                    TLanes.AddProducts(x[1], w0, w1, w2, w3, ref b0, ref b1, ref b2, ref b3);
                    TLanes.AddProducts(x[2], w0, w1, w2, w3, ref c0, ref c1, ref c2, ref c3);
                    TLanes.AddProducts(x[3], w0, w1, w2, w3, ref d0, ref d1, ref d2, ref d3);
                    (w0, w1, w2, w3) = (Fourth(p0, s0, z0), Fourth(p1, s1, z1), Fourth(p2, s2, z2), Fourth(p3, s3, z3));
                    TLanes.AddProducts(x[12], w0, w1, w2, w3, ref a0, ref a1, ref a2, ref a3);
                    TLanes.AddProducts(x[13], w0, w1, w2, w3, ref b0, ref b1, ref b2, ref b3);
                    TLanes.AddProducts(x[14], w0, w1, w2, w3, ref c0, ref c1, ref c2, ref c3);
                    TLanes.AddProducts(x[15], w0, w1, w2, w3, ref d0, ref d1, ref d2, ref d3);
                    (w0, w1, w2, w3) = (Third(p0, s0, z0), Third(p1, s1, z1), Third(p2, s2, z2), Third(p3, s3, z3));
                    TLanes.AddProducts(x[8], w0, w1, w2, w3, ref a0, ref a1, ref a2, ref a3);
                    TLanes.AddProducts(x[9], w0, w1, w2, w3, ref b0, ref b1, ref b2, ref b3);
                    TLanes.AddProducts(x[10], w0, w1, w2, w3, ref c0, ref c1, ref c2, ref c3);
                    TLanes.AddProducts(x[11], w0, w1, w2, w3, ref d0, ref d1, ref d2, ref d3);
                    (s0, s1, s2, s3) = (Next(s0), Next(s1), Next(s2), Next(s3));
                    x += 16;
                }
                while (++four < Fours);
            }
            var fold = new Fold(block, group);
            fold.Add(totals, a0, a1, a2, a3);
            fold.Add(totals + stride, b0, b1, b2, b3);
            fold.Add(totals + 2 * stride, c0, c1, c2, c3);
            fold.Add(totals + 3 * stride, d0, d1, d2, d3);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void TwoByFour(in PackedBlock block, float* x, float* totals, nint stride)
    {
        uint* p0 = block.Lines, p1 = p0 + PanelWords, p2 = p1 + PanelWords, p3 = p2 + PanelWords;
        for (int group = 0; group < block.Groups; group++)
        {
            Zeros z0 = new(block, group, 0), z1 = new(block, group, 1), z2 = new(block, group, 2), z3 = new(block, group, 3);
            TLanes a0 = TLanes.Fill(0), a1 = a0, a2 = a0, a3 = a0;
            TLanes b0 = a0, b1 = a0, b2 = a0, b3 = a0;
            for (int line = block.GroupLines; line > 0; line--, p0 += Line, p1 += Line, p2 += Line, p3 += Line)
            {
                TLanes s0 = Words(p0), s1 = Words(p1), s2 = Words(p2), s3 = Words(p3);
                int four = 0;
                do
                {
                    TLanes w0 = Second(p0, s0, z0), w1 = Second(p1, s1, z1), w2 = Second(p2, s2, z2), w3 = Second(p3, s3, z3);
                    TLanes.AddProducts(x[2], w0, w1, w2, w3, ref a0, ref a1, ref a2, ref a3);
                    TLanes.AddProducts(x[3], w0, w1, w2, w3, ref b0, ref b1, ref b2, ref b3);
                    (w0, w1, w2, w3) = (First(p0, s0, z0), First(p1, s1, z1), First(p2, s2, z2), First(p3, s3, z3));
                    TLanes.AddProducts(x[0], w0, w1, w2, w3, ref a0, ref a1, ref a2, ref a3);
                    TLanes.AddProducts(x[1], w0, w1, w2, w3, ref b0, ref b1, ref b2, ref b3);
                    (w0, w1, w2, w3) = (Fourth(p0, s0, z0), Fourth(p1, s1, z1), Fourth(p2, s2, z2), Fourth(p3, s3, z3));
                    TLanes.AddProducts(x[6], w0, w1, w2, w3, ref a0, ref a1, ref a2, ref a3);
                    TLanes.AddProducts(x[7], w0, w1, w2, w3, ref b0, ref b1, ref b2, ref b3);
                    (w0, w1, w2, w3) = (Third(p0, s0, z0), Third(p1, s1, z1), Third(p2, s2, z2), Third(p3, s3, z3));
                    TLanes.AddProducts(x[4], w0, w1, w2, w3, ref a0, ref a1, ref a2, ref a3);
                    TLanes.AddProducts(x[5], w0, w1, w2, w3, ref b0, ref b1, ref b2, ref b3);
                    (s0, s1, s2, s3) = (Next(s0), Next(s1), Next(s2), Next(s3));
                    x += 8;
                }
                while (++four < Fours);
            }
            var fold = new Fold(block, group);
            fold.Add(totals, a0, a1, a2, a3);
            fold.Add(totals + stride, b0, b1, b2, b3);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void FourByOne(in PackedBlock block, int panel, float* x, float* totals, nint stride)
    {
        uint* p = block.Lines + panel * PanelWords;
        for (int group = 0; group < block.Groups; group++)
        {
            var zeros = new Zeros(block, group, panel);
            TLanes a = TLanes.Fill(0), b = a, c = a, d = a;
            for (int line = block.GroupLines; line > 0; line--, p += Line)
            {
                TLanes words = Words(p);
                int four = 0;
                do
                {
                    TLanes.AddProducts(x + 4, Second(p, words, zeros), ref a, ref b, ref c, ref d);
                    TLanes.AddProducts(x, First(p, words, zeros), ref a, ref b, ref c, ref d);
                    TLanes.AddProducts(x + 12, Fourth(p, words, zeros), ref a, ref b, ref c, ref d);
                    TLanes.AddProducts(x + 8, Third(p, words, zeros), ref a, ref b, ref c, ref d);
                    words = Next(words);
                    x += 16;
                }
                while (++four < Fours);
            }
            var fold = new Fold(block, group);
            fold.Add(totals, panel, a);
            fold.Add(totals + stride, panel, b);
            fold.Add(totals + 2 * stride, panel, c);
            fold.Add(totals + 3 * stride, panel, d);
        }
    }

    /// <summary>One of some rows that are packed together. A single row waits for weights, which are asked for in time.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void OneByFour(in PackedBlock block, float* x, nint rows, float* totals)
    {
        uint* p0 = block.Lines, p1 = p0 + PanelWords, p2 = p1 + PanelWords, p3 = p2 + PanelWords, ahead = p0 + WordsAhead;
        for (int group = 0; group < block.Groups; group++)
        {
            Zeros z0 = new(block, group, 0), z1 = new(block, group, 1), z2 = new(block, group, 2), z3 = new(block, group, 3);
            TLanes a0 = TLanes.Fill(0), a1 = a0, a2 = a0, a3 = a0;
            for (int line = block.GroupLines; line > 0; line--, p0 += Line, p1 += Line, p2 += Line, p3 += Line)
            {
                Ask(ahead);
                ahead += Panels * Width;
                TLanes s0 = Words(p0), s1 = Words(p1), s2 = Words(p2), s3 = Words(p3);
                int four = 0;
                do
                {
                    TLanes.AddProducts(x[rows], Second(p0, s0, z0), Second(p1, s1, z1), Second(p2, s2, z2), Second(p3, s3, z3), ref a0, ref a1, ref a2, ref a3);
                    TLanes.AddProducts(x[0], First(p0, s0, z0), First(p1, s1, z1), First(p2, s2, z2), First(p3, s3, z3), ref a0, ref a1, ref a2, ref a3);
                    TLanes.AddProducts(x[3 * rows], Fourth(p0, s0, z0), Fourth(p1, s1, z1), Fourth(p2, s2, z2), Fourth(p3, s3, z3), ref a0, ref a1, ref a2, ref a3);
                    TLanes.AddProducts(x[2 * rows], Third(p0, s0, z0), Third(p1, s1, z1), Third(p2, s2, z2), Third(p3, s3, z3), ref a0, ref a1, ref a2, ref a3);
                    (s0, s1, s2, s3) = (Next(s0), Next(s1), Next(s2), Next(s3));
                    x += 4 * rows;
                }
                while (++four < Fours);
            }
            new Fold(block, group).Add(totals, a0, a1, a2, a3);
        }
    }

    /// <summary>Four lines, in the order in which they lie: hardware then goes on by itself.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Ask(uint* lines)
    {
        if (!Sse.IsSupported) return;
        Sse.Prefetch0(lines);
        Sse.Prefetch0(lines + Width);
        Sse.Prefetch0(lines + 2 * Width);
        Sse.Prefetch0(lines + 3 * Width);
    }

    /// <summary>The words of a line; F32 is read by the line.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes Words(uint* line) => TCodes.Bits == 32 ? default : TLanes.Load((float*)line);

    /// <summary>Words with the next four codes in the places of the last four.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes Next(TLanes words) => TCodes.Bits == 4 ? TLanes.ShiftRight(words, 4) : words;

    /// <summary>The weights of the first k of four.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes First(uint* line, TLanes words, in Zeros zeros) => TCodes.Bits == 32 ? TLanes.Load((float*)line) : Even(words, zeros);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes Second(uint* line, TLanes words, in Zeros zeros) => TCodes.Bits == 32 ? TLanes.Load((float*)line + Width) : TLanes.Code(words, 8, TCodes.Bits, zeros.Odd);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes Third(uint* line, TLanes words, in Zeros zeros) =>
        TCodes.Bits == 32 ? TLanes.Load((float*)line + 2 * Width) : Even(TLanes.ShiftRight(words, 16), zeros);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes Fourth(uint* line, TLanes words, in Zeros zeros) =>
        TCodes.Bits == 32 ? TLanes.Load((float*)line + 3 * Width) : TLanes.Code(TLanes.ShiftRight(words, 16), 8, TCodes.Bits, zeros.Odd);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes Even(TLanes words, in Zeros zeros) =>
        TCodes.Bits == 4 && !TCodes.HasZeros ? TLanes.LowestCode4(words) : TLanes.Code(words, 0, TCodes.Bits, zeros.Even);

    /// <summary>What codes of a panel in a group are biased by, and their zero, in byte 0 and in byte 1.</summary>
    private readonly struct Zeros
    {
        public readonly TLanes Even, Odd;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Zeros(in PackedBlock block, int group, int panel)
        {
            TLanes even = TLanes.Fill(BitConverter.UInt32BitsToSingle(Lanes.Bias(0))), odd = TLanes.Fill(BitConverter.UInt32BitsToSingle(Lanes.Bias(8)));
            TLanes zero = TCodes.HasZeros ? TLanes.LoadBytes(block.Zeros + group * block.GroupStride + panel * Lanes.Count) : TLanes.Fill(TCodes.Middle);
            Even = even + zero;
            Odd = odd + zero;
        }
    }

    /// <summary>Adds sums of a group, times its scales, to totals.</summary>
    private readonly struct Fold(in PackedBlock block, int group)
    {
        private readonly float* _scales = block.Scales + group * block.GroupStride;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Add(float* totals, int panel, TLanes sum) => TLanes.AddScaled(sum, _scales + panel * Lanes.Count, totals);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Add(float* totals, TLanes s0, TLanes s1, TLanes s2, TLanes s3)
        {
            TLanes.AddScaled(s0, _scales, totals);
            TLanes.AddScaled(s1, _scales + Lanes.Count, totals + Lanes.Count);
            TLanes.AddScaled(s2, _scales + 2 * Lanes.Count, totals + 2 * Lanes.Count);
            TLanes.AddScaled(s3, _scales + 3 * Lanes.Count, totals + 3 * Lanes.Count);
        }
    }
}
