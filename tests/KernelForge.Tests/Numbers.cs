namespace KernelForge.Tests;

/// <summary>Reproducible inputs.</summary>
public static class Numbers
{
    public static DType[] FloatTypes => [DType.F32, DType.F16, DType.BF16];

    /// <summary>Uniform in -range .. range.</summary>
    public static float[] Uniform(int seed, int count, float range = 1)
    {
        var random = new Random(seed);
        var values = new float[count];
        for (int i = 0; i < count; i++) values[i] = (random.NextSingle() * 2 - 1) * range;
        return values;
    }
}
