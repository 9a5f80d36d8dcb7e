using System.Runtime.InteropServices;

namespace KernelForge.Tests;

/// <summary>
/// What the micro-kernel of a wrapper gets and what must come out. A case is one warp: word j of lane i lies at i · words + j of its input and of its output.
/// </summary>
/// <param name="Name">Of the wrapper, with its type: conform_NAME is the kernel.</param>
/// <param name="OutputWords">Of a lane.</param>
/// <param name="Draw">Input words of a warp, from its number among the cases.</param>
/// <param name="FindFault">What is wrong with the output of a warp, given its input and whether the device is a Hopper; null when nothing is.</param>
internal sealed record WrapperCases(string Name, int OutputWords, Func<Random, int, uint[]> Draw, Func<uint[], uint[], bool, string?> FindFault)
{
    private const int Lanes = 32;

    private static readonly uint[] Special =
    [
        0, 0x80000000, 1, 0x80000001, 0x007FFFFF, 0x00800000, 0x80800000, 0x3F800000, 0xBF800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001,
        0x477FE000, 0x477FF000, 0x33800000, 0x33000000, 0x33000001, 0x3F808000, 0x3F818000, // ties and ends of the 16-bit types
    ];

    /// <summary>Whether the hardware may round otherwise than the definition does.</summary>
    public bool IsApproximate { get; private init; }

    public static WrapperCases[] All { get; } =
    [
        Exact("shared_address", 1, (random, _) => Words(random, 1), (_, _) => PerLane(lane => [(uint)(4 * lane)])),
        Exact("cp_async_16", 4, DrawPartialCopies, (input, _) => PerLane(lane => PartialCopy(input.AsSpan(8 * lane, 8)))),
        Exact("cp_async_16_evict_first", 4, DrawPartialCopies, (input, _) => PerLane(lane => PartialCopy(input.AsSpan(8 * lane, 8)))),
        Exact("evict_first_policy", 4, DrawPartialCopies, (input, _) => PerLane(lane => PartialCopy(input.AsSpan(8 * lane, 8)))),
        Exact("and_or", 1, (random, _) => Words(random, 3), (input, _) => PerLane(lane => [(input[3 * lane] & input[3 * lane + 1]) | input[3 * lane + 2]])),
        Exact("cp_async_commit", 8, (random, _) => Words(random, 8), (input, _) => input),
        Exact("cp_async_wait", 8, (random, _) => Words(random, 8), (input, _) => input),
        Exact("ldmatrix_x4", 4, DrawRows, (input, _) => PerLane(lane => Matrices(input, (row, column) => (row, column), lane))),
        Exact("ldmatrix_x4_trans", 4, DrawRows, (input, _) => PerLane(lane => Matrices(input, (row, column) => (column, row), lane))),
        Exact("mma_m16n8k16_f16", 4, (random, trial) => TensorCoreCases.Draw(random, trial, DType.F16), (input, isHopper) => TensorCoreCases.Define(input, DType.F16, isHopper)),
        Exact("mma_m16n8k16_bf16", 4, (random, trial) => TensorCoreCases.Draw(random, trial, DType.BF16), (input, isHopper) => TensorCoreCases.Define(input, DType.BF16, isHopper)),
        Approximate("ex2", x => Math.Pow(2, x), range: 150),
        Approximate("lg2", Math.Log2, range: float.MaxValue, unit: 1),
        Approximate("rcp", x => 1 / x, range: float.MaxValue),
        Approximate("inverse_sqrt", x => 1 / Math.Sqrt(x), range: float.MaxValue),
        Exact("pack_f16", 1, DrawFloats(2, 70000), (input, _) => PerLane(lane => [Pair(ToF16, input, lane)])),
        Exact("pack_bf16", 1, DrawFloats(2, float.MaxValue), (input, _) => PerLane(lane => [Pair(ToBF16, input, lane)])),
    ];

    public override string ToString() => Name;

    private static WrapperCases Exact(string name, int outputWords, Func<Random, int, uint[]> draw, Func<uint[], bool, uint[]> define) =>
        new(name, outputWords, draw, (input, output, isHopper) =>
        {
            uint[] expected = define(input, isHopper);
            int wrong = expected.AsSpan().CommonPrefixLength(output);
            return wrong == expected.Length ? null : $"lane {wrong / outputWords}, word {wrong % outputWords}: 0x{output[wrong]:x8} instead of 0x{expected[wrong]:x8}";
        });

    private static WrapperCases Approximate(string name, Func<double, double> function, float range, double unit = 0) =>
        new(name, 1, DrawFloats(1, range), (input, output, _) =>
        {
            for (int lane = 0; lane < Lanes; lane++)
            {
                float x = BitConverter.UInt32BitsToSingle(input[lane]), result = BitConverter.UInt32BitsToSingle(output[lane]);
                if (!IsNear(result, function(Flush(x)), unit)) return $"lane {lane}: {result:g9} instead of {function(Flush(x)):g17} for {x:g9}";
            }
            return null;
        })
        { IsApproximate = true };

    // The error of all four is within 2^-22 of the value, that of the logarithm, whose value may be near 0, within 2^-22 at least. Results below the normal
    // numbers are zero.
    private static bool IsNear(float result, double exact, double unit)
    {
        double smallest = Math.ScaleB(1, -126), error = Math.ScaleB(Math.Max(Math.Abs(exact), unit), -22);
        if (double.IsNaN(exact)) return float.IsNaN(result);
        if (double.IsInfinity(exact) || exact == 0) return result.Equals((float)exact);
        if (Math.Abs(exact) < smallest && result == 0) return true;
        if (float.IsInfinity((float)exact)) return float.IsInfinity(result) && result > 0 == exact > 0;
        return Math.Abs(result - exact) <= error && !float.IsSubnormal(result);
    }

    private static double Flush(float x) => float.IsSubnormal(x) ? float.CopySign(0, x) : x;

    private static uint[] PerLane(Func<int, uint[]> lane) => [.. Enumerable.Range(0, Lanes).SelectMany(lane)];

    private static uint[] Words(Random random, int words)
    {
        var values = new uint[Lanes * words];
        random.NextBytes(MemoryMarshal.AsBytes(values.AsSpan()));
        return values;
    }

    // Trial 0 has the special values, the others are spread over all exponents up to the range.
    private static Func<Random, int, uint[]> DrawFloats(int words, float range) => (random, trial) =>
    {
        var values = new uint[Lanes * words];
        for (int i = 0; i < values.Length; i++)
        {
            double magnitude = Math.ScaleB(1 + random.NextDouble(), random.Next(-140, Math.ILogB(range)));
            values[i] = trial == 0 && i < Special.Length ? Special[i] : BitConverter.SingleToUInt32Bits((float)(random.Next(2) == 0 ? magnitude : -magnitude));
        }
        return values;
    };

    private static uint[] DrawPartialCopies(Random random, int trial)
    {
        uint[] values = Words(random, 8);
        for (int lane = 0; lane < Lanes; lane++) values[8 * lane + 4] = trial == 0 ? (uint)(lane % 17) : (uint)random.Next(17);
        return values;
    }

    private static uint[] PartialCopy(ReadOnlySpan<uint> words)
    {
        var copy = new uint[4];
        MemoryMarshal.AsBytes(words)[..(int)words[4]].CopyTo(MemoryMarshal.AsBytes(copy.AsSpan()));
        return copy;
    }

    private static uint[] DrawRows(Random random, int trial)
    {
        uint[] values = Words(random, 5);
        for (int lane = 0; lane < Lanes; lane++) values[5 * lane + 4] = trial == 0 ? (uint)lane : (uint)random.Next(Lanes);
        return values;
    }

    // Of each matrix, a lane has the elements at(lane / 4, 2 · (lane % 4)) and at(lane / 4, 2 · (lane % 4) + 1).
    private static uint[] Matrices(uint[] input, Func<int, int, (int Row, int Column)> at, int lane)
    {
        var pairs = new uint[4];
        for (int matrix = 0; matrix < 4; matrix++)
            for (int half = 0; half < 2; half++)
            {
                (int row, int column) = at(lane / 4, lane % 4 * 2 + half);
                uint pointed = input[5 * (8 * matrix + row) + 4];
                pairs[matrix] |= (input[5 * pointed + column / 2] >> (16 * (column % 2)) & 0xFFFF) << (16 * half);
            }
        return pairs;
    }

    private static uint Pair(Func<float, ushort> round, uint[] input, int lane) =>
        round(BitConverter.UInt32BitsToSingle(input[2 * lane])) | (uint)round(BitConverter.UInt32BitsToSingle(input[2 * lane + 1])) << 16;

    private static ushort ToF16(float value) => float.IsNaN(value) ? (ushort)0x7FFF : BitConverter.HalfToUInt16Bits((Half)value);

    private static ushort ToBF16(float value) => float.IsNaN(value) ? (ushort)0x7FFF : ((BFloat16)value).ToBits();
}
