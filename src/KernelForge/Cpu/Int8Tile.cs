using System.Runtime.CompilerServices;

namespace KernelForge.Cpu;

/// <summary>
/// The innermost part of a product of codes with x in 8-bit whole numbers: rows of a tile times one panel over one block of 128 k. Sums start at −zero · Σ q.
/// <see cref="IPanelProduct"/> says the order of sums.
/// </summary>
internal static unsafe class Int8Tile<TSums, TCodes> where TSums : struct, ICodeSums<TSums> where TCodes : struct, IPackedCodes
{
    private const int Line = PanelLayout.LineBytes / sizeof(uint);

    private static int RunLines
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => ICodeSums<TSums>.RunLength / (2 * TCodes.Pairs);
    }

    /// <summary>Adds the sums of a block to totals.</summary>
    /// <param name="rows">4, 2 or 1.</param>
    /// <param name="block">The weights.</param>
    /// <param name="x">[2 for each line][rows].</param>
    /// <param name="scales">Of x: [rows].</param>
    /// <param name="sums">Of −q: [group][rows].</param>
    /// <param name="totals">[rows, stride].</param>
    /// <param name="stride">Floats from one row of totals to the next.</param>
    public static void Add(int rows, in PackedBlock block, uint* x, float* scales, int* sums, float* totals, nint stride)
    {
        if (rows == 4) AddFour(block, x, scales, sums, totals, stride);
        else
            for (int row = 0; row < rows; row++) AddOne(block, x + row, rows, scales[row], sums + row, totals + row * stride);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void AddFour(in PackedBlock block, uint* x, float* scales, int* sums, float* totals, nint stride)
    {
        uint* line = block.Lines;
        int runLines = RunLines;
        for (int group = 0; group < block.Groups; group++, sums += 4)
        {
            TSums s0 = Start(block, group, sums[0]), s1 = Start(block, group, sums[1]), s2 = Start(block, group, sums[2]), s3 = Start(block, group, sums[3]);
            for (int left = block.GroupLines; left > 0; left -= runLines)
            {
                TSums r0 = TSums.Fill(0), r1 = r0, r2 = r0, r3 = r0;
                for (int i = 0; i < runLines; i++, line += Line, x += 8)
                {
                    TSums codes = TSums.LoadLine(line), part = TSums.First<TCodes>(codes);
                    (r0, r1) = (TSums.AddProducts<TCodes>(r0, part, x[0]), TSums.AddProducts<TCodes>(r1, part, x[1]));
                    (r2, r3) = (TSums.AddProducts<TCodes>(r2, part, x[2]), TSums.AddProducts<TCodes>(r3, part, x[3]));
                    part = TSums.Second<TCodes>(codes);
                    (r0, r1) = (TSums.AddProducts<TCodes>(r0, part, x[4]), TSums.AddProducts<TCodes>(r1, part, x[5]));
                    (r2, r3) = (TSums.AddProducts<TCodes>(r2, part, x[6]), TSums.AddProducts<TCodes>(r3, part, x[7]));
                }
                (s0, s1) = (s0 + TSums.Widen<TCodes>(r0), s1 + TSums.Widen<TCodes>(r1));
                (s2, s3) = (s2 + TSums.Widen<TCodes>(r2), s3 + TSums.Widen<TCodes>(r3));
            }
            float* weightScales = block.Scales + group * block.GroupStride;
            TSums.AddTo(totals, s0, scales[0], weightScales);
            TSums.AddTo(totals + stride, s1, scales[1], weightScales);
            TSums.AddTo(totals + 2 * stride, s2, scales[2], weightScales);
            TSums.AddTo(totals + 3 * stride, s3, scales[3], weightScales);
        }
    }

    /// <summary>One row of so many that are packed together.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void AddOne(in PackedBlock block, uint* x, nint rows, float scale, int* sums, float* totals)
    {
        uint* line = block.Lines;
        int runLines = RunLines;
        for (int group = 0; group < block.Groups; group++, sums += rows)
        {
            TSums sum = Start(block, group, *sums);
            for (int left = block.GroupLines; left > 0; left -= runLines)
            {
                TSums run = TSums.Fill(0);
                for (int i = 0; i < runLines; i++, line += Line, x += 2 * rows)
                {
                    TSums codes = TSums.LoadLine(line);
                    run = TSums.AddProducts<TCodes>(run, TSums.First<TCodes>(codes), x[0]);
                    run = TSums.AddProducts<TCodes>(run, TSums.Second<TCodes>(codes), x[rows]);
                }
                sum += TSums.Widen<TCodes>(run);
            }
            TSums.AddTo(totals, sum, scale, block.Scales + group * block.GroupStride);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TSums Start(in PackedBlock block, int group, int sum) =>
        TCodes.HasZeros ? TSums.LoadBytes(block.Zeros + group * block.GroupStride) * TSums.Fill(sum) : TSums.Fill(TCodes.Middle * sum);
}
