using KernelForge.Cpu;

namespace KernelForge.Tests;

/// <summary>What operators rely on: conversions exact and rounded right, exponential and logarithm accurate, the same bits in every width.</summary>
public sealed unsafe class LaneTests
{
    public static TheoryData<CpuInstructionSet> Sets => [.. Enum.GetValues<CpuInstructionSet>().Where(set => set <= CpuInstructionSets.Best)];

    [Theory]
    [MemberData(nameof(Sets))]
    public void Convert_EveryHalf_WidensExactly(CpuInstructionSet set)
    {
        ushort[] codes = [.. Enumerable.Range(0, 65536).Select(i => (ushort)i)];
        var widened = new float[codes.Length];
        Convert(set, codes, DType.F16, widened, DType.F32);
        Assert.Equal([.. codes.Select(code => (float)BitConverter.UInt16BitsToHalf(code))], widened);
        Convert(set, codes, DType.BF16, widened, DType.F32);
        Assert.Equal([.. codes.Select(code => (float)BFloat16.FromBits(code))], widened);
    }

    [Theory]
    [MemberData(nameof(Sets))]
    public void Convert_SinglesAroundHalves_RoundsToNearestEven(CpuInstructionSet set)
    {
        float[] values = [.. Enumerable.Range(0, 8192).SelectMany(i => Around((float)BitConverter.UInt16BitsToHalf((ushort)(8 * i + i % 8))).Concat(Around(BFloat16.FromBits((ushort)(8 * i + i % 8)))))];
        ushort[] rounded = new ushort[values.Length];
        Convert(set, values, DType.F32, rounded, DType.F16);
        for (int i = 0; i < values.Length; i++) AssertSame((float)(Half)values[i], (float)BitConverter.UInt16BitsToHalf(rounded[i]), values[i]);
        Convert(set, values, DType.F32, rounded, DType.BF16);
        for (int i = 0; i < values.Length; i++) AssertSame((BFloat16)values[i], BFloat16.FromBits(rounded[i]), values[i]);

        // The value, its neighbours, and the halfway points to the next 16-bit numbers with their neighbours.
        static float[] Around(float v) => [v, MathF.BitIncrement(v), MathF.BitDecrement(v), Bits(v, 0x1000), Bits(v, 0x1001), Bits(v, 0xFFF), Bits(v, 0x8000), Bits(v, 0x8001)];
        static float Bits(float v, int more) => BitConverter.Int32BitsToSingle(BitConverter.SingleToInt32Bits(v) | more);
        static void AssertSame(float expected, float actual, float value)
        {
            if (!expected.Equals(actual) || float.IsNegative(expected) != float.IsNegative(actual)) Assert.Fail($"{value:G9} became {actual:G9}, expected {expected:G9}");
        }
    }

    [Theory]
    [MemberData(nameof(Sets))]
    public void Convert_PartOfAVector_LeavesTheRestAlone(CpuInstructionSet set)
    {
        foreach (DType type in (DType[])[DType.F32, DType.F16, DType.BF16])
            for (int count = 0; count < 20; count++)
            {
                float[] values = [.. Enumerable.Range(1, 25).Select(i => (float)i)];
                byte[] actual = [.. Enumerable.Repeat((byte)0xCC, 100)];
                Convert(set, values.AsSpan(0, count + 5).ToArray(), DType.F32, actual, type);
                int end = count * type.Size() + 5; // the second pass starts five bytes later
                Assert.DoesNotContain((byte)0xCC, actual[5..end]);
                Assert.All(actual[end..], value => Assert.Equal(0xCC, value));
            }
    }

    [Fact]
    public void Exp_WholeRange_IsWithinItsBoundAndTheSameInEveryWidth()
    {
        float[] x = Samples(-106, 90, 60_000);
        float[] scalar = Map<LanesScalar>(x, Function.Exp);
        for (int i = 0; i < x.Length; i++) AssertUlps(Math.Exp(x[i]), scalar[i], 1.02, x[i]);
        Assert.Equal([1f, 1f, 0f, 0f, float.PositiveInfinity, float.PositiveInfinity, float.NaN],
            Map<LanesScalar>([0f, -0f, float.NegativeInfinity, -104f, 89f, float.PositiveInfinity, float.NaN], Function.Exp));
        AssertSameInEveryWidth([.. x, 0f, -0f, float.NegativeInfinity, float.PositiveInfinity], Function.Exp);
    }

    [Fact]
    public void Exp2_WholeRange_IsWithinItsBoundAndTheSameInEveryWidth()
    {
        float[] x = [.. Samples(-152, 128.5f, 60_000), .. Samples(-1, 1, 20_000)];
        float[] scalar = Map<LanesScalar>(x, Function.Exp2);
        for (int i = 0; i < x.Length; i++) AssertUlps(Math.Pow(2, x[i]), scalar[i], 1.02, x[i]);
        Assert.Equal([1f, 1f, 0f, 0f, float.NaN], Map<LanesScalar>([0f, -0f, float.NegativeInfinity, -150f, float.NaN], Function.Exp2));
        AssertSameInEveryWidth([.. x, 0f, -0f, float.NegativeInfinity], Function.Exp2);
    }

    [Fact]
    public void Log_PositiveNumbers_IsWithinItsBoundAndTheSameInEveryWidth()
    {
        float[] x = [.. Samples(-80, 80, 30_000).Select(MathF.Exp), .. Samples(0.5f, 2, 30_000)];
        float[] scalar = Map<LanesScalar>(x, Function.Log);
        for (int i = 0; i < x.Length; i++) AssertUlps(Math.Log(x[i]), scalar[i], 0.85, x[i]);
        AssertSameInEveryWidth(x, Function.Log);
    }

    [Theory]
    [MemberData(nameof(Sets))]
    public void MaxAndLargest_NaN_TakesTheSecondOperand(CpuInstructionSet set)
    {
        float[] nan = [.. Enumerable.Repeat(float.NaN, 16)], one = [.. Enumerable.Repeat(1f, 16)];
        Assert.Equal((1f, float.NaN), set switch
        {
            CpuInstructionSet.Vector512 => Largest<Lanes512>(),
            CpuInstructionSet.Vector256 => Largest<Lanes256>(),
            _ => Largest<LanesScalar>(),
        });

        (float, float) Largest<TLanes>() where TLanes : struct, ILanes<TLanes>
        {
            fixed (float* n = nan, o = one)
                return (TLanes.Largest(TLanes.Max(TLanes.Load(n), TLanes.Load(o))), TLanes.Largest(TLanes.Max(TLanes.Load(o), TLanes.Load(n))));
        }
    }

    [Theory]
    [MemberData(nameof(Sets))]
    public void Transpose_RowsAnywhere_PutsRowsInLanes(CpuInstructionSet set)
    {
        AssertTransposed(value => value);
        AssertTransposed(value => (Half)value);
        AssertTransposed(value => (BFloat16)value);

        void AssertTransposed<T>(Func<float, T> convert) where T : unmanaged
        {
            const int stride = 21, length = 40;
            int count = 16 / sizeof(T);
            T[] rows = [.. Enumerable.Range(0, 16 * length).Select(i => convert(i / 4f - 70))];
            float[] turned = new float[count * stride + 16], expected = new float[turned.Length];
            T** addresses = stackalloc T*[16];
            fixed (T* source = rows)
            fixed (float* destination = turned)
            {
                for (int row = 0; row < 16; row++)
                {
                    addresses[row] = source + (row * 5 % 16) * length + row % 3;
                    for (int i = 0; i < count; i++) expected[i * stride + row] = Widen.One(addresses[row][3 + i]);
                }
                if (set == CpuInstructionSet.Vector512) Lanes512.Transpose(addresses, 3, destination, stride);
                else if (set == CpuInstructionSet.Vector256) Lanes256.Transpose(addresses, 3, destination, stride);
                else LanesScalar.Transpose(addresses, 3, destination, stride);
            }
            Close.AssertSameBits(expected, turned);
        }
    }

    [Fact]
    public void Sum_EveryWidth_IsTheSameTree()
    {
        float[] numbers = Numbers.Uniform(1, 256, 1000);
        float[] expected = Sums<LanesScalar>();
        Close.AssertSameBits([.. Enumerable.Range(0, 16).Select(i => Tree(numbers.AsSpan(16 * i, 16)))], expected);
        if (CpuInstructionSets.Best >= CpuInstructionSet.Vector256) Close.AssertSameBits(expected, Sums<Lanes256>());
        if (CpuInstructionSets.Best >= CpuInstructionSet.Vector512) Close.AssertSameBits(expected, Sums<Lanes512>());

        float[] Sums<TLanes>() where TLanes : struct, ILanes<TLanes>
        {
            var sums = new float[16];
            fixed (float* n = numbers, s = sums)
                for (int i = 0; i < 16; i++) s[i] = TLanes.Sum(TLanes.Load(n + 16 * i));

            return sums;
        }

        static float Tree(ReadOnlySpan<float> v) => v.Length == 1 ? v[0] : v.Length == 2 ? v[0] + v[1] : TreeOfHalves(v);
        static float TreeOfHalves(ReadOnlySpan<float> v)
        {
            var half = new float[v.Length / 2];
            for (int i = 0; i < half.Length; i++) half[i] = v[i] + v[i + half.Length];
            return Tree(half);
        }
    }

    private enum Function
    {
        Exp,
        Exp2,
        Log,
    }

    private static float[] Samples(float from, float to, int count)
    {
        var random = new Random(1);
        return [.. Enumerable.Range(0, count).Select(_ => from + (to - from) * random.NextSingle())];
    }

    private static float[] Map<TLanes>(float[] x, Function function) where TLanes : struct, ILanes<TLanes>
    {
        var result = new float[x.Length];
        fixed (float* source = x, destination = result)
        {
            for (int i = 0; i < x.Length; i += Lanes.Count)
            {
                TLanes value = Elements.Load<TLanes>((nint)source, DType.F32, i, x.Length);
                TLanes y = function switch { Function.Exp => LaneMath.Exp(value), Function.Exp2 => LaneMath.Exp2(value), _ => LaneMath.Log(value) };
                Elements.Store(y, (nint)destination, DType.F32, i, x.Length);
            }
        }

        return result;
    }

    private static void AssertSameInEveryWidth(float[] x, Function function)
    {
        float[] expected = Map<LanesScalar>(x, function);
        if (CpuInstructionSets.Best >= CpuInstructionSet.Vector256) Close.AssertSameBits(expected, Map<Lanes256>(x, function));
        if (CpuInstructionSets.Best >= CpuInstructionSet.Vector512) Close.AssertSameBits(expected, Map<Lanes512>(x, function));
    }

    /// <summary>Distance in units of the last place of the exact result as an F32, 2^-149 for subnormal ones.</summary>
    private static void AssertUlps(double exact, float actual, double ulps, float x)
    {
        double ulp = Math.ScaleB(1, Math.Max(Math.ILogB(exact == 0 ? 1e-300 : exact), -126) - 23);
        bool close = exact > float.MaxValue ? float.IsPositiveInfinity(actual) : Math.Abs(actual - exact) <= ulps * ulp;
        if (!close) Assert.Fail($"at {x:G9}: {actual:G9}, expected {exact:G12}, {Math.Abs(actual - exact) / ulp:F2} ulp");
    }

    private static void Convert<TFrom, TTo>(CpuInstructionSet set, TFrom[] source, DType from, TTo[] destination, DType to) where TFrom : unmanaged where TTo : unmanaged
    {
        int length = source.Length - 5; // the tail goes its own way
        fixed (TFrom* s = source)
        fixed (TTo* d = destination)
        {
            for (int pass = 0; pass < 2; pass++)
            {
                nint start = (nint)s + pass * 5 * sizeof(TFrom), end = (nint)d + pass * 5 * sizeof(TTo);
                if (set == CpuInstructionSet.Vector512) Elements.Convert<Lanes512>(start, from, end, to, length);
                else if (set == CpuInstructionSet.Vector256) Elements.Convert<Lanes256>(start, from, end, to, length);
                else Elements.Convert<LanesScalar>(start, from, end, to, length);
            }
        }
    }
}
