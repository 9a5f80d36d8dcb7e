using System.Diagnostics;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using KernelForge.Cpu;

namespace KernelForge.Bench;

/// <summary>What the machine reaches in a loop of multiply-adds in registers and in one that only reads memory.</summary>
internal readonly record struct Ceiling(double GigaFlops, double GigaBytes);

/// <summary>Ceilings measured before the cases of a run, by number of threads. The median counts, as it does for a case.</summary>
internal static class Ceilings
{
    private static readonly TimeSpan Stretch = TimeSpan.FromMilliseconds(50);
    private static readonly Dictionary<int, List<Sample>> Samples = [];

    /// <summary>Takes a sample; about a second.</summary>
    public static void Measure(int threads)
    {
        using var pool = new CpuThreads(threads);
        var multiply = new MultiplyAdds();
        double flops = MultiplyAdds.Flops * threads / Nanoseconds(pool, threads, ref multiply);
        double[] byPrecision = [flops, flops, flops];
        foreach (ActivationPrecision precision in NativeDots.Available)
        {
            using var dots = new NativeDots(precision, threads);
            NativeDots.Work work = dots.Products;
            byPrecision[(int)precision] = NativeDots.Flops * threads / Nanoseconds(pool, threads, ref work);
        }
        if (!Samples.TryGetValue(threads, out List<Sample>? samples)) Samples[threads] = samples = [];
        samples.Add(new Sample(byPrecision, ReadGigaBytes(pool, threads)));
    }

    /// <summary>The medians. Operations are those of products that round x so: by the native library where it has them, or else multiply-adds.</summary>
    public static Ceiling Of(int threads, ActivationPrecision precision = ActivationPrecision.Full) => new(
        Median(Samples[threads].Select(sample => sample.GigaFlops[(int)precision])),
        Median(Samples[threads].Select(sample => sample.GigaBytes)));

    private static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }

    private static unsafe double ReadGigaBytes(CpuThreads pool, int threads)
    {
        const long Bytes = 192L << 20; // several times a last-level cache's share
        void* memory = NativeMemory.AlignedAlloc((nuint)Bytes, 64);
        new Span<byte>(memory, (int)Bytes).Fill(1); // pages that were never written are all the same one
        var read = new Reads((float*)memory, Bytes / sizeof(float));
        double rate = Bytes / Nanoseconds(pool, threads, ref read);
        NativeMemory.AlignedFree(memory);
        return rate;
    }

    /// <summary>Median of five stretches about as long as an iteration of a benchmark, so that other work on the machine shows alike in both.</summary>
    private static double Nanoseconds<TWork>(CpuThreads pool, int threads, ref TWork work) where TWork : struct, IParallelWork
    {
        pool.Run(ref work, threads);
        var times = new double[5];
        for (int i = 0; i < times.Length; i++)
        {
            long start = Stopwatch.GetTimestamp();
            int runs = 0;
            do
            {
                pool.Run(ref work, threads);
                runs++;
            }
            while (Stopwatch.GetElapsedTime(start) < Stretch);
            times[i] = Stopwatch.GetElapsedTime(start).TotalNanoseconds / runs;
        }
        return Median(times);
    }

    /// <param name="GigaFlops">By precision of x.</param>
    /// <param name="GigaBytes">Read from memory.</param>
    private readonly record struct Sample(double[] GigaFlops, double GigaBytes);

    /// <summary>Twelve chains of multiply-adds, as wide as the machine's vectors.</summary>
    private struct MultiplyAdds : IParallelWork
    {
        private const int Steps = 500_000;
        private const int Chains = 12;
        private float _sink;

        public static double Flops => 2.0 * Steps * Chains * (CpuInstructionSets.Best == CpuInstructionSet.Vector512 ? Vector512<float>.Count : Vector256<float>.Count);

        public void Run(int part, int parts) => _sink = CpuInstructionSets.Best == CpuInstructionSet.Vector512 ? Wide() : Narrow();

        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        private static float Wide()
        {
            Vector512<float> a = default, b = default, c = default, d = default, e = default, f = default;
            Vector512<float> g = default, h = default, i = default, j = default, k = default, l = default;
            Vector512<float> x = Vector512.Create(0.9f), y = Vector512.Create(0.1f);
            for (int step = 0; step < Steps; step++)
            {
                a = Vector512.FusedMultiplyAdd(a, x, y);
                b = Vector512.FusedMultiplyAdd(b, x, y);
                c = Vector512.FusedMultiplyAdd(c, x, y);
                d = Vector512.FusedMultiplyAdd(d, x, y);
                e = Vector512.FusedMultiplyAdd(e, x, y);
                f = Vector512.FusedMultiplyAdd(f, x, y);
                g = Vector512.FusedMultiplyAdd(g, x, y);
                h = Vector512.FusedMultiplyAdd(h, x, y);
                i = Vector512.FusedMultiplyAdd(i, x, y);
                j = Vector512.FusedMultiplyAdd(j, x, y);
                k = Vector512.FusedMultiplyAdd(k, x, y);
                l = Vector512.FusedMultiplyAdd(l, x, y);
            }
            return Vector512.Sum(a + b + c + d + e + f + g + h + i + j + k + l);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        private static float Narrow()
        {
            Vector256<float> a = default, b = default, c = default, d = default, e = default, f = default;
            Vector256<float> g = default, h = default, i = default, j = default, k = default, l = default;
            Vector256<float> x = Vector256.Create(0.9f), y = Vector256.Create(0.1f);
            for (int step = 0; step < Steps; step++)
            {
                a = Vector256.FusedMultiplyAdd(a, x, y);
                b = Vector256.FusedMultiplyAdd(b, x, y);
                c = Vector256.FusedMultiplyAdd(c, x, y);
                d = Vector256.FusedMultiplyAdd(d, x, y);
                e = Vector256.FusedMultiplyAdd(e, x, y);
                f = Vector256.FusedMultiplyAdd(f, x, y);
                g = Vector256.FusedMultiplyAdd(g, x, y);
                h = Vector256.FusedMultiplyAdd(h, x, y);
                i = Vector256.FusedMultiplyAdd(i, x, y);
                j = Vector256.FusedMultiplyAdd(j, x, y);
                k = Vector256.FusedMultiplyAdd(k, x, y);
                l = Vector256.FusedMultiplyAdd(l, x, y);
            }
            return Vector256.Sum(a + b + c + d + e + f + g + h + i + j + k + l);
        }
    }

    /// <summary>Sums memory, each thread its own stretch, with four streams of vectors.</summary>
    private unsafe struct Reads(float* memory, long length) : IParallelWork
    {
        private float _sink;

        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        public void Run(int part, int parts)
        {
            long quarter = length / parts / 4 / Vector<float>.Count * Vector<float>.Count;
            float* p0 = memory + length / parts * part, p1 = p0 + quarter, p2 = p1 + quarter, p3 = p2 + quarter;
            Vector<float> a = default, b = default, c = default, d = default;
            for (long i = 0; i < quarter; i += Vector<float>.Count)
            {
                a += *(Vector<float>*)(p0 + i);
                b += *(Vector<float>*)(p1 + i);
                c += *(Vector<float>*)(p2 + i);
                d += *(Vector<float>*)(p3 + i);
            }
            _sink = Vector.Sum(a + b + c + d);
        }
    }
}
