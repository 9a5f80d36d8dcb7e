using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KernelForge.Cpu;

/// <summary>Puts row-major weights in panels (<see cref="PanelLayout"/>).</summary>
internal static unsafe class Panels
{
    /// <summary>Outputs of half a panel.</summary>
    public const int Half = PanelLayout.Panel / 2;

    private const int Line = PanelLayout.LineBytes / sizeof(uint), StepBytes = 64, StepWords = StepBytes / sizeof(uint);

    /// <summary>Panels that a part of a product multiplies, and a part of packing writes. Whole fours where there are many: they go side by side.</summary>
    public static RowRange Part(int panels, int part, int parts)
    {
        int unit = panels >= 16 * parts ? 4 : 1;
        RowRange units = RowRange.Of((panels + unit - 1) / unit, part, parts);
        return new RowRange(units.Start * unit, Math.Min(units.End * unit, panels));
    }

    /// <summary>A copy of a matrix.</summary>
    public static DenseWeights Pack(in DeviceMatrix weights)
    {
        CpuThreads threads = Check(weights);
        return Pack(threads, weights, default, weights.Rows);
    }

    /// <summary>A copy of gate and up projection.</summary>
    public static DenseWeights PackGated(in DeviceMatrix gate, in DeviceMatrix up)
    {
        CpuThreads threads = Check(gate);
        KernelForge.Check.That(up.Device == gate.Device && up.Rows == gate.Rows && up.Columns == gate.Columns && up.DType == gate.DType,
            $"DenseWeights: up is {up} on {up.Device?.Name ?? "no device"}, expected {gate} on {gate.Device!.Name}, as gate");
        KernelForge.Check.That(up.Rows % Half == 0, $"DenseWeights: gate and up have {up.Rows} outputs, expected a multiple of {Half}");
        return Pack(threads, gate, up, checked(2 * gate.Rows));
    }

    /// <summary>Puts eight rows of weights, or fewer, in half a panel.</summary>
    /// <param name="rows">The first row.</param>
    /// <param name="rowStride">Bytes from a row to the next.</param>
    /// <param name="count">Rows that there are, at most 8; the others become zeros.</param>
    /// <param name="bytes">Of a row.</param>
    /// <param name="words">Lines to write; what the rows do not fill becomes zeros.</param>
    /// <param name="lines">The first line, or its second half.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void PackHalf(byte* rows, nint rowStride, int count, int bytes, int words, uint* lines)
    {
        int word = 0;
        if (count >= Half && Avx2.IsSupported)
            for (; (word + StepWords) * sizeof(uint) <= bytes; word += StepWords, rows += StepBytes, lines += StepWords * Line)
            {
                Transpose(rows, rowStride, lines);
                Transpose(rows + Vector256<byte>.Count, rowStride, lines + Vector256<uint>.Count * Line);
            }
        for (; word < words; word++, rows += sizeof(uint), lines += Line)
            for (int row = 0; row < Half; row++)
                lines[row] = row < count ? Word(rows + row * rowStride, bytes - word * sizeof(uint)) : 0;
    }

    /// <summary>A word of which so many bytes are left.</summary>
    private static uint Word(byte* at, int left) =>
        left >= sizeof(uint) ? Unsafe.ReadUnaligned<uint>(at) : left >= sizeof(ushort) ? Unsafe.ReadUnaligned<ushort>(at) : 0u;

    /// <summary>Eight words of each of eight rows become half of eight lines.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Transpose(byte* rows, nint stride, uint* lines)
    {
        byte* below = rows + 4 * stride;
        Vector256<float> r0 = Quarters(rows, below, 0), r1 = Quarters(rows + stride, below + stride, 0);
        Vector256<float> r2 = Quarters(rows + 2 * stride, below + 2 * stride, 0), r3 = Quarters(rows + 3 * stride, below + 3 * stride, 0);
        TransposeQuarters(r0, r1, r2, r3, lines);
        (r0, r1) = (Quarters(rows, below, 16), Quarters(rows + stride, below + stride, 16));
        (r2, r3) = (Quarters(rows + 2 * stride, below + 2 * stride, 16), Quarters(rows + 3 * stride, below + 3 * stride, 16));
        TransposeQuarters(r0, r1, r2, r3, lines + 4 * Line);
    }

    /// <summary>Four words of a row, and of the row four below it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Quarters(byte* row, byte* below, int offset) =>
        Vector256.Create(Vector128.Load((float*)(row + offset)), Vector128.Load((float*)(below + offset)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void TransposeQuarters(Vector256<float> r0, Vector256<float> r1, Vector256<float> r2, Vector256<float> r3, uint* lines)
    {
        Vector256<float> low01 = Avx.UnpackLow(r0, r1), low23 = Avx.UnpackLow(r2, r3), high01 = Avx.UnpackHigh(r0, r1), high23 = Avx.UnpackHigh(r2, r3);
        Avx.Shuffle(low01, low23, 0x44).Store((float*)lines);
        Avx.Shuffle(low01, low23, 0xEE).Store((float*)(lines + Line));
        Avx.Shuffle(high01, high23, 0x44).Store((float*)(lines + 2 * Line));
        Avx.Shuffle(high01, high23, 0xEE).Store((float*)(lines + 3 * Line));
    }

    /// <summary>The threads of the device where the weights are.</summary>
    private static CpuThreads Check(in DeviceMatrix weights)
    {
        KernelForge.Check.That(!weights.IsEmpty && weights.DType.IsFloat(),
            $"DenseWeights: weights are {weights}, expected F32, F16 or BF16 and at least one output and one input");
        KernelForge.Check.That(weights.Device!.IsCpu && weights.Device.Operators is CpuOperators,
            $"DenseWeights: weights are on {weights.Device.Name}, expected a CPU device");
        return ((CpuOperators)weights.Device.Operators).Threads;
    }

    /// <summary>Threads write what they multiply later, so that it lies near them.</summary>
    private static DenseWeights Pack(CpuThreads threads, in DeviceMatrix weights, in DeviceMatrix up, int n)
    {
        DeviceBuffer buffer = weights.Device!.Allocate(DType.I8, PanelLayout.Bytes(weights.DType, n, weights.Columns));
        var work = new PackWork((uint*)buffer.Address, weights, up);
        threads.Run(ref work, PanelLayout.Panels(n));
        bool areFiniteHalves = weights.DType == DType.F16 && !work.HasSpecial;
        return new DenseWeights(buffer, weights.DType, n, weights.Columns, isGated: !up.IsEmpty) { AreFiniteHalves = areFiniteHalves };
    }

    [StructLayout(LayoutKind.Auto)]
    private struct PackWork(uint* packed, DeviceMatrix weights, DeviceMatrix up) : IParallelWork
    {
        private volatile bool _hasSpecial;

        /// <summary>Whether one of F16 weights is infinite or NaN.</summary>
        public readonly bool HasSpecial => _hasSpecial;

        public void Run(int part, int parts)
        {
            int words = PanelLayout.Words(weights.DType, weights.Columns), halves = up.IsEmpty ? 2 : 1; // of a matrix in a panel
            RowRange range = Part(PanelLayout.Panels(weights.Rows * 2 / halves), part, parts);
            uint* lines = packed + (nint)range.Start * words * Line;
            for (int panel = range.Start; panel < range.End; panel++, lines += (nint)words * Line)
            {
                PackHalf(weights, panel * halves * Half, words, lines);
                PackHalf(up.IsEmpty ? weights : up, ((panel + 1) * halves - 1) * Half, words, lines + Half);
                if (weights.DType == DType.F16 && !FiniteHalf.AreAll(lines, (nint)words * Line)) _hasSpecial = true;
            }
        }

        private static void PackHalf(in DeviceMatrix matrix, int row, int words, uint* lines)
        {
            int size = matrix.DType.Size();
            Panels.PackHalf((byte*)matrix.RowAddress(row), (nint)matrix.RowStride * size, matrix.Rows - row, matrix.Columns * size, words, lines);
        }
    }
}
