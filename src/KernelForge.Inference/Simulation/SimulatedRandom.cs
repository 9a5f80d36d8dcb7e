namespace KernelForge.Inference;

/// <summary>Random numbers that are the same on every machine (SplitMix64), and hashes of the same kind.</summary>
internal sealed class SimulatedRandom(ulong seed)
{
    private ulong _state = Hash(seed, 0);

    /// <summary>A number that depends on both arguments and looks random.</summary>
    public static ulong Hash(ulong a, ulong b)
    {
        ulong z = a * 0x9E3779B97F4A7C15UL + b + 0x632BE59BD9B4E019UL;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9UL;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBUL;
        return z ^ (z >> 31);
    }

    /// <summary>A hash as a number in [0, 1).</summary>
    public static double Fraction(ulong hash) => (hash >> 11) * (1.0 / (1UL << 53));

    /// <summary>In [0, 1).</summary>
    public double Uniform() => Fraction(Hash(_state++, 1));

    /// <summary>In [0, count).</summary>
    public int Below(int count) => (int)(Uniform() * count);

    /// <summary>Exponentially distributed: the time between arrivals of a Poisson process has this mean.</summary>
    public double Exponential(double mean) => -mean * Math.Log(1 - Uniform());

    /// <summary>Log-normal with this mean; <paramref name="sigma"/> is the standard deviation of the logarithm.</summary>
    public double LogNormal(double mean, double sigma)
    {
        double normal = Math.Sqrt(-2 * Math.Log(1 - Uniform())) * Math.Cos(2 * Math.PI * Uniform());
        return mean * Math.Exp(sigma * normal - sigma * sigma / 2);
    }

    public void Shuffle<T>(Span<T> items)
    {
        for (int i = items.Length - 1; i > 0; i--)
        {
            int j = Below(i + 1);
            (items[i], items[j]) = (items[j], items[i]);
        }
    }
}
