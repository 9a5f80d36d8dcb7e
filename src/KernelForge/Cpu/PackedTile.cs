using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace KernelForge.Cpu;

/// <summary>
/// The inner part of a product with packed weights: a few rows of x times two outputs, over a run of k. Weights become exact whole numbers in registers and
/// are used for all rows; no number of rows changes what is computed for one.
/// </summary>
/// <remarks>
/// The canon of packed products on the CPU. Lane l = 4 c + j (0..15) of an output takes, of each <see cref="IPackedCodes.LineK"/> of k in packed order, the
/// elements <see cref="IPackedCodes.Offset"/>(step) + 2 c + j · LineK / 4, step by step, and multiplies them with those of x by fused multiply-add, from +0 at the
/// start of a group; at its end total l = fma(scale, sum l, total l), groups ascending. One scale per output counts as groups of 128 with the same scale. After
/// the last group lane l is added to lane l + 8, l to l + 4, l to l + 2 and l to l + 1.
/// </remarks>
internal static unsafe class PackedTile<TLanes, TCodes> where TLanes : struct, ILanes<TLanes> where TCodes : struct, IPackedCodes
{
    /// <summary>Outputs from one of the two to the other.</summary>
    private const int Apart = 8;

    /// <summary>How many rows a tile takes, 1, 2, 4 or 8, of so many that are left. It may be one more.</summary>
    public static int Rows(int left) =>
        TLanes.HasManyRegisters ? left >= 7 ? 8 : left >= 3 ? 4 : left : Math.Min(left, 2);

    /// <summary>Adds the products of a run to totals.</summary>
    /// <param name="rows">As <see cref="Rows"/> says.</param>
    /// <param name="run">The weights.</param>
    /// <param name="x">[steps of the run][rows][16].</param>
    /// <param name="totals">[outputs][rows][16].</param>
    public static void Add(int rows, in PackedRun run, float* x, float* totals)
    {
        if (rows == 8) EightRows(run, x, totals);
        else if (rows == 4) FourRows(run, x, totals);
        else if (rows == 2) TwoRows(run, x, totals);
        else OneRow(run, x, totals);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void EightRows(in PackedRun run, float* firstX, float* firstTotals)
    {
        for (int pair = 0; pair < run.Pairs; pair++)
        {
            var at = new Place(run, pair);
            float* x = firstX, totals = firstTotals + OutputOf(pair) * 8 * Lanes.Count;
            for (int piece = 0; piece < run.Pieces; piece++, at.NextPiece(run))
            {
                TLanes zero = TLanes.Fill(0), zeroA = at.Zero(run, 0), zeroB = at.Zero(run, Apart);
                TLanes a0 = zero, a1 = zero, a2 = zero, a3 = zero, a4 = zero, a5 = zero, a6 = zero, a7 = zero;
                TLanes b0 = zero, b1 = zero, b2 = zero, b3 = zero, b4 = zero, b5 = zero, b6 = zero, b7 = zero;
                for (int i = 0; i < run.PieceLines; i++, at.NextLine())
                    for (int step = 0; step < TCodes.Steps; step++, x += 8 * Lanes.Count)
                    {
                        TLanes a = Weights(at.Line, step, 0, zeroA), b = Weights(at.Line, step, 1, zeroB), row = TLanes.Load(x);
                        (a0, b0) = (Fma(row, a, a0), Fma(row, b, b0));
                        row = TLanes.Load(x + 16);
                        (a1, b1) = (Fma(row, a, a1), Fma(row, b, b1));
                        row = TLanes.Load(x + 32);
                        (a2, b2) = (Fma(row, a, a2), Fma(row, b, b2));
                        row = TLanes.Load(x + 48);
                        (a3, b3) = (Fma(row, a, a3), Fma(row, b, b3));
                        row = TLanes.Load(x + 64);
                        (a4, b4) = (Fma(row, a, a4), Fma(row, b, b4));
                        row = TLanes.Load(x + 80);
                        (a5, b5) = (Fma(row, a, a5), Fma(row, b, b5));
                        row = TLanes.Load(x + 96);
                        (a6, b6) = (Fma(row, a, a6), Fma(row, b, b6));
                        row = TLanes.Load(x + 112);
                        (a7, b7) = (Fma(row, a, a7), Fma(row, b, b7));
                    }
                TLanes scale = at.Scale(run, 0);
                Fold(a0, scale, totals);
                Fold(a1, scale, totals + 16);
                Fold(a2, scale, totals + 32);
                Fold(a3, scale, totals + 48);
                Fold(a4, scale, totals + 64);
                Fold(a5, scale, totals + 80);
                Fold(a6, scale, totals + 96);
                Fold(a7, scale, totals + 112);
                scale = at.Scale(run, Apart);
                float* other = totals + Apart * 8 * Lanes.Count;
                Fold(b0, scale, other);
                Fold(b1, scale, other + 16);
                Fold(b2, scale, other + 32);
                Fold(b3, scale, other + 48);
                Fold(b4, scale, other + 64);
                Fold(b5, scale, other + 80);
                Fold(b6, scale, other + 96);
                Fold(b7, scale, other + 112);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void FourRows(in PackedRun run, float* firstX, float* firstTotals)
    {
        for (int pair = 0; pair < run.Pairs; pair++)
        {
            var at = new Place(run, pair);
            float* x = firstX, totals = firstTotals + OutputOf(pair) * 4 * Lanes.Count;
            for (int piece = 0; piece < run.Pieces; piece++, at.NextPiece(run))
            {
                TLanes zero = TLanes.Fill(0), zeroA = at.Zero(run, 0), zeroB = at.Zero(run, Apart);
                TLanes a0 = zero, a1 = zero, a2 = zero, a3 = zero, b0 = zero, b1 = zero, b2 = zero, b3 = zero;
                for (int i = 0; i < run.PieceLines; i++, at.NextLine())
                    for (int step = 0; step < TCodes.Steps; step++, x += 4 * Lanes.Count)
                    {
                        TLanes a = Weights(at.Line, step, 0, zeroA), b = Weights(at.Line, step, 1, zeroB), row = TLanes.Load(x);
                        (a0, b0) = (Fma(row, a, a0), Fma(row, b, b0));
                        row = TLanes.Load(x + 16);
                        (a1, b1) = (Fma(row, a, a1), Fma(row, b, b1));
                        row = TLanes.Load(x + 32);
                        (a2, b2) = (Fma(row, a, a2), Fma(row, b, b2));
                        row = TLanes.Load(x + 48);
                        (a3, b3) = (Fma(row, a, a3), Fma(row, b, b3));
                    }
                TLanes scale = at.Scale(run, 0);
                Fold(a0, scale, totals);
                Fold(a1, scale, totals + 16);
                Fold(a2, scale, totals + 32);
                Fold(a3, scale, totals + 48);
                scale = at.Scale(run, Apart);
                float* other = totals + Apart * 4 * Lanes.Count;
                Fold(b0, scale, other);
                Fold(b1, scale, other + 16);
                Fold(b2, scale, other + 32);
                Fold(b3, scale, other + 48);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void TwoRows(in PackedRun run, float* firstX, float* firstTotals)
    {
        for (int pair = 0; pair < run.Pairs; pair++)
        {
            var at = new Place(run, pair);
            float* x = firstX, totals = firstTotals + OutputOf(pair) * 2 * Lanes.Count;
            for (int piece = 0; piece < run.Pieces; piece++, at.NextPiece(run))
            {
                TLanes zero = TLanes.Fill(0), zeroA = at.Zero(run, 0), zeroB = at.Zero(run, Apart);
                TLanes a0 = zero, a1 = zero, b0 = zero, b1 = zero;
                for (int i = 0; i < run.PieceLines; i++, at.NextLine())
                    for (int step = 0; step < TCodes.Steps; step++, x += 2 * Lanes.Count)
                    {
                        TLanes a = Weights(at.Line, step, 0, zeroA), b = Weights(at.Line, step, 1, zeroB), row = TLanes.Load(x);
                        (a0, b0) = (Fma(row, a, a0), Fma(row, b, b0));
                        row = TLanes.Load(x + 16);
                        (a1, b1) = (Fma(row, a, a1), Fma(row, b, b1));
                    }
                TLanes scale = at.Scale(run, 0);
                Fold(a0, scale, totals);
                Fold(a1, scale, totals + 16);
                scale = at.Scale(run, Apart);
                float* other = totals + Apart * 2 * Lanes.Count;
                Fold(b0, scale, other);
                Fold(b1, scale, other + 16);
            }
        }
    }

    /// <summary>The steps of a line written out: what a loop costs would show.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void OneRow(in PackedRun run, float* firstX, float* firstTotals)
    {
        for (int pair = 0; pair < run.Pairs; pair++)
        {
            var at = new Place(run, pair);
            float* x = firstX, totals = firstTotals + OutputOf(pair) * 1 * Lanes.Count;
            for (int piece = 0; piece < run.Pieces; piece++, at.NextPiece(run))
            {
                TLanes a = TLanes.Fill(0), b = a, zeroA = at.Zero(run, 0), zeroB = at.Zero(run, Apart);
                for (int i = 0; i < run.PieceLines; i++, at.NextLine(), x += TCodes.Steps * Lanes.Count)
                {
                    TLanes row = TLanes.Load(x);
                    (a, b) = (Fma(row, Weights(at.Line, 0, 0, zeroA), a), Fma(row, Weights(at.Line, 0, 1, zeroB), b));
                    row = TLanes.Load(x + 16);
                    (a, b) = (Fma(row, Weights(at.Line, 1, 0, zeroA), a), Fma(row, Weights(at.Line, 1, 1, zeroB), b));
                    if (TCodes.Steps == 2) continue;
                    row = TLanes.Load(x + 32);
                    (a, b) = (Fma(row, Weights(at.Line, 2, 0, zeroA), a), Fma(row, Weights(at.Line, 2, 1, zeroB), b));
                    row = TLanes.Load(x + 48);
                    (a, b) = (Fma(row, Weights(at.Line, 3, 0, zeroA), a), Fma(row, Weights(at.Line, 3, 1, zeroB), b));
                }
                Fold(a, at.Scale(run, 0), totals);
                Fold(b, at.Scale(run, Apart), totals + Apart * Lanes.Count);
            }
        }
    }

    /// <summary>The first output of a pair.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static nint OutputOf(int pair) => pair + (pair & -Apart);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes Weights(uint* line, int step, int side, TLanes zero)
    {
        TLanes codes = TCodes.Load<TLanes>(line, step, side);
        return TCodes.HasZeros ? codes - zero : codes;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes Fma(TLanes x, TLanes weights, TLanes sum) => TLanes.FusedMultiplyAdd(weights, x, sum);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Fold(TLanes sum, TLanes scale, float* total) =>
        TLanes.Store(TLanes.FusedMultiplyAdd(scale, sum, TLanes.Load(total)), total);

    /// <summary>Where the walk of a pair over a run is.</summary>
    private struct Place(in PackedRun run, int pair)
    {
        private const int LineWords = 16, LineStride = Apart * LineWords; // to the next line, and to the next of the same pair
        private const int WordsAhead = 2048; // 8 KiB: what comes after some hundred nanoseconds

        private nint _scale = OutputOf(pair);
        private int _lines;

        public uint* Line = (uint*)run.Codes + (pair & -Apart) * BlockLines * LineWords + (pair & (Apart - 1)) * LineWords;

        /// <summary>Lines of a pair in a block.</summary>
        private static int BlockLines => PackedLayout.Tile / TCodes.LineK;

        /// <summary>To the next line of the pair. Its neighbours belong to other pairs, so hardware does not foresee it.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void NextLine()
        {
            if (Sse.IsSupported) Sse.Prefetch0(Line + WordsAhead);
            Line += LineStride;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void NextPiece(in PackedRun run)
        {
            _scale += run.PieceStride;
            _lines += run.PieceLines;
            if (_lines < BlockLines) return;
            _lines = 0;
            Line += run.BlockBytes / sizeof(uint) - BlockLines * LineStride;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly TLanes Scale(in PackedRun run, int output)
        {
            float* scale = run.Scales + _scale + output;
            return run.HalfStride == 0 ? TLanes.Fill(*scale) : TLanes.FillPairs(*scale, scale[run.HalfStride]);
        }

        /// <summary>Zero points less the middle.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly TLanes Zero(in PackedRun run, int output)
        {
            if (!TCodes.HasZeros) return default;
            byte* zero = run.Zeros + _scale + output;
            return TLanes.FillPairs(*zero - TCodes.Middle, zero[run.HalfStride] - TCodes.Middle);
        }
    }
}
