namespace KernelForge.Cli;

/// <summary>Finds the name that was probably meant.</summary>
internal static class Nearest
{
    /// <summary>A clause that names the nearest one, to follow a complaint; empty when none is near.</summary>
    public static string Suggestion(string typed, IEnumerable<string> names)
    {
        (string? name, int distance) = names.Select(name => (name, Distance(typed, name))).MinBy(pair => pair.Item2);
        return name is not null && distance <= Math.Max(2, typed.Length / 3) ? $"; the nearest one is {name}" : "";
    }

    /// <summary>Insertions, deletions and replacements that turn one text into the other (Levenshtein).</summary>
    internal static int Distance(string a, string b)
    {
        int[] previous = [.. Enumerable.Range(0, b.Length + 1)], current = new int[b.Length + 1];
        for (int i = 1; i <= a.Length; i++)
        {
            current[0] = i;
            for (int j = 1; j <= b.Length; j++)
                current[j] = Math.Min(Math.Min(previous[j], current[j - 1]) + 1, previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1));
            (previous, current) = (current, previous);
        }
        return previous[b.Length];
    }
}
