using System.Globalization;

namespace KernelForge.Cli;

/// <summary>Sizes of memory as people write them: 512M, 2G, 1.5GiB. A unit is a power of 1024.</summary>
internal static class SizeText
{
    private const string Units = "KMGT";

    public static bool TryParse(string text, out long bytes)
    {
        bytes = 0;
        string number = text.Trim().ToUpperInvariant();
        if (number.EndsWith("IB", StringComparison.Ordinal)) number = number[..^2];
        else if (number.EndsWith('B')) number = number[..^1];
        int power = number.Length > 0 ? Units.IndexOf(number[^1]) + 1 : 0;
        if (power > 0) number = number[..^1];

        if (!double.TryParse(number, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double value)) return false;
        value *= Math.Pow(1024, power);
        if (value >= long.MaxValue) return false;
        bytes = (long)value;
        return true;
    }

    public static string Format(long bytes)
    {
        int power = 0;
        double value = bytes;
        while (value >= 1024 && power < Units.Length) (value, power) = (value / 1024, power + 1);
        return power == 0
            ? string.Create(CultureInfo.InvariantCulture, $"{bytes} B")
            : string.Create(CultureInfo.InvariantCulture, $"{value:0.##} {Units[power - 1]}iB");
    }
}
