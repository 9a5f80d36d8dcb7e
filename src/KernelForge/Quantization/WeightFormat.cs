using System.Globalization;

namespace KernelForge;

/// <summary>
/// How weights are stored as whole numbers: weight = scale · (code − zero), with a scale, and where it says so a zero point, for every group of weights of
/// one output that follow each other along k. Without zero points zero is the middle of the codes, 8 or 128.
/// </summary>
/// <param name="Bits">4 or 8.</param>
/// <param name="GroupSize">Weights of a group: 32, 64 or 128, or 0 for one group per output (per channel).</param>
/// <param name="HasZeroPoints">Whether each group has a zero point of its own (asymmetric).</param>
public readonly record struct WeightFormat(int Bits, int GroupSize, bool HasZeroPoints = false)
{
    private const string ZeroPointsSuffix = "-asym";

    /// <summary>4 bits, groups of 128: the usual form.</summary>
    public static WeightFormat W4Group128 => new(4, 128);

    /// <summary>4 bits, groups of 64.</summary>
    public static WeightFormat W4Group64 => new(4, 64);

    /// <summary>4 bits, groups of 32.</summary>
    public static WeightFormat W4Group32 => new(4, 32);

    /// <summary>4 bits, one scale per output.</summary>
    public static WeightFormat W4PerChannel => new(4, 0);

    /// <summary>8 bits, one scale per output.</summary>
    public static WeightFormat W8PerChannel => new(8, 0);

    /// <summary>8 bits, groups of 128.</summary>
    public static WeightFormat W8Group128 => new(8, 128);

    /// <summary>Largest code: 15 or 255.</summary>
    public int MaxCode => (1 << Bits) - 1;

    /// <summary>The code that means 0 where there are no zero points: 8 or 128.</summary>
    public int MiddleCode => 1 << (Bits - 1);

    /// <summary>Groups of one output with so many weights; the last may be short only per channel.</summary>
    public int Groups(int k) => GroupSize == 0 ? 1 : k / GroupSize;

    /// <summary>Reads "w4g128", "w8" (per channel), "w4g64-asym" (with zero points).</summary>
    /// <exception cref="FormatException">It is none of them; says what is.</exception>
    public static WeightFormat Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        bool hasZeroPoints = text.EndsWith(ZeroPointsSuffix, StringComparison.Ordinal);
        string plain = hasZeroPoints ? text[..^ZeroPointsSuffix.Length] : text;
        int bits = plain.StartsWith("w4", StringComparison.Ordinal) ? 4 : plain.StartsWith("w8", StringComparison.Ordinal) ? 8 : 0;
        int? group = plain.Length <= 2 ? 0 : plain[2..] switch { "g32" => 32, "g64" => 64, "g128" => 128, _ => null };
        if (bits == 0 || group is null)
            throw new FormatException($"'{text}' is no weight format; expected w4 or w8, then nothing (per channel), g32, g64 or g128, then -asym for zero points");
        return new WeightFormat(bits, group.Value, hasZeroPoints);
    }

    /// <summary>As <see cref="Parse"/> reads it.</summary>
    public override string ToString() =>
        string.Create(CultureInfo.InvariantCulture, $"w{Bits}") + (GroupSize == 0 ? "" : "g" + GroupSize.ToString(CultureInfo.InvariantCulture)) + (HasZeroPoints ? ZeroPointsSuffix : "");

    /// <summary>Refuses formats that do not exist and lengths that they do not divide.</summary>
    /// <exception cref="ArgumentException">Says what was expected and what came.</exception>
    internal void Check(string operation, int n, int k)
    {
        KernelForge.Check.That(Bits is 4 or 8, $"{operation}: {Bits} bits, expected 4 or 8");
        KernelForge.Check.That(GroupSize is 0 or 32 or 64 or 128, $"{operation}: groups of {GroupSize}, expected 32, 64, 128, or 0 for one per output");
        KernelForge.Check.That(n > 0 && k > 0, $"{operation}: weights are [{n}, {k}], expected at least one output and one input");
        KernelForge.Check.That(GroupSize == 0 || k % GroupSize == 0, $"{operation}: k is {k}, expected a multiple of the group size {GroupSize}");
    }
}
