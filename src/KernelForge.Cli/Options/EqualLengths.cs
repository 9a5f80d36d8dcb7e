using System.Globalization;
using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary>Which answers step together: all that can, or <c>--equal-lengths B[,W]</c>.</summary>
internal static class EqualLengths
{
    private const string Name = "--equal-lengths";
    private const int WindowPerGroup = 3; // EXSPEC's own setting

    public static Option Option { get; } = new(Name, "B[,W]", "step B answers of equal length together, out of the W oldest", "off");

    public static IDecodeSelector Of(ParsedOptions parsed)
    {
        if (parsed.Text(Name) is not { } text) return new AllDecodes();
        string[] parts = text.Split(',');
        if (parts.Length <= 2 && IsNumber(parts[0], out int group) && group is >= 1 and <= int.MaxValue / WindowPerGroup)
        {
            if (parts.Length == 1) return new EqualLengthDecodes(group, WindowPerGroup * group);
            if (IsNumber(parts[1], out int window) && window > group) return new EqualLengthDecodes(group, window);
        }
        throw new CommandException($"{Name} must be a number of answers, or that and a larger one, such as 8 or 8,24, not '{text}'.");
    }

    private static bool IsNumber(string text, out int value) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value);
}
