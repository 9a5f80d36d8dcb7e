using System.Numerics;
using System.Runtime.CompilerServices;

namespace KernelForge.Bench;

/// <summary>The vectorised loops that one writes first; baselines are made of them.</summary>
internal static class PlainLoops
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static float Dot(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        Vector<float> sum = default;
        for (int i = 0; i <= a.Length - Vector<float>.Count; i += Vector<float>.Count)
            sum += new Vector<float>(a[i..]) * new Vector<float>(b[i..]);
        return Vector.Sum(sum);
    }

    /// <summary>result += a · factor.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void AddScaled(ReadOnlySpan<float> a, float factor, Span<float> result)
    {
        for (int i = 0; i <= a.Length - Vector<float>.Count; i += Vector<float>.Count)
            (new Vector<float>(result[i..]) + new Vector<float>(a[i..]) * factor).CopyTo(result[i..]);
    }

    /// <summary>exp((x - largest) / temperature) in place; returns the sum.</summary>
    public static float Exponentials(Span<float> x, float temperature)
    {
        float largest = float.NegativeInfinity, sum = 0;
        foreach (float value in x) largest = MathF.Max(largest, value);
        foreach (ref float value in x) sum += value = MathF.Exp((value - largest) / temperature);
        return sum;
    }
}
