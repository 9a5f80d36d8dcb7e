using System.Globalization;
using System.Text;

namespace KernelForge.Inference;

/// <summary>
/// Unicode normalisation form C. <see cref="string.Normalize()"/> needs the ICU library and returns its argument unchanged where
/// globalisation is invariant, which would silently give other tokens; this one needs nothing.
/// </summary>
internal static class CanonicalComposition
{
    private const int SyllableBase = 0xAC00, LeadBase = 0x1100, VowelBase = 0x1161, TrailBase = 0x11A7;
    private const int LeadCount = 19, VowelCount = 21, TrailCount = 28, SyllableCount = LeadCount * VowelCount * TrailCount;

    private static readonly Dictionary<int, int[]> Decompositions = [];
    private static readonly Dictionary<(int First, int Second), int> Compositions = [];
    private static readonly Dictionary<int, byte> Classes = [];
    private static readonly HashSet<int> MayChange = [];

    static CanonicalComposition()
    {
        foreach (string entry in NormalizationData.Decompositions.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries))
            AddDecomposition(entry);
        foreach (string entry in NormalizationData.CombiningClasses.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries))
            AddClass(entry);
        for (int jamo = VowelBase; jamo < TrailBase + TrailCount; jamo++) MayChange.Add(jamo);
    }

    /// <summary>The composed form; the argument itself where it cannot differ.</summary>
    public static string Apply(string text)
    {
        if (!MightChange(text)) return text;

        var points = new List<int>(text.Length);
        foreach (Rune rune in text.EnumerateRunes()) Decompose(rune.Value, points);
        Reorder(points);
        Compose(points);

        var composed = new StringBuilder(points.Count);
        Span<char> utf16 = stackalloc char[2];
        foreach (int point in points) composed.Append(utf16[..new Rune(point).EncodeToUtf16(utf16)]);
        return composed.ToString();
    }

    private static bool MightChange(string text)
    {
        foreach (Rune rune in text.EnumerateRunes())
        {
            if (rune.Value >= 0x300 && MayChange.Contains(rune.Value)) return true;
        }
        return false;
    }

    private static void AddDecomposition(string entry)
    {
        int sign = entry.AsSpan().IndexOfAny('=', '>');
        int point = Hex(entry.AsSpan(0, sign));
        int[] parts = Array.ConvertAll(entry[(sign + 1)..].Split('+'), part => Hex(part));
        Decompositions[point] = parts;
        if (entry[sign] == '>') MayChange.Add(point);
        else
        {
            Compositions[(parts[0], parts[1])] = point;
            MayChange.Add(parts[1]);
        }
    }

    private static void AddClass(string entry)
    {
        string[] sides = entry.Split(':');
        string[] range = sides[0].Split('-');
        for (int point = Hex(range[0]); point <= Hex(range[^1]); point++)
        {
            Classes[point] = byte.Parse(sides[1], CultureInfo.InvariantCulture);
            MayChange.Add(point);
        }
    }

    private static int Hex(ReadOnlySpan<char> digits) => int.Parse(digits, NumberStyles.HexNumber, CultureInfo.InvariantCulture);

    private static void Decompose(int point, List<int> output)
    {
        int syllable = point - SyllableBase;
        if (syllable is >= 0 and < SyllableCount)
        {
            output.Add(LeadBase + syllable / (VowelCount * TrailCount));
            output.Add(VowelBase + syllable % (VowelCount * TrailCount) / TrailCount);
            if (syllable % TrailCount != 0) output.Add(TrailBase + syllable % TrailCount);
        }
        else if (Decompositions.TryGetValue(point, out int[]? parts))
        {
            foreach (int part in parts) Decompose(part, output);
        }
        else output.Add(point);
    }

    /// <summary>Sorts every run of combining marks by class; the sort is stable.</summary>
    private static void Reorder(List<int> points)
    {
        for (int start = 0; start < points.Count;)
        {
            int end = start;
            while (end < points.Count && ClassOf(points[end]) != 0) end++;
            if (end - start > 1)
            {
                int[] sorted = [.. points.GetRange(start, end - start).OrderBy(ClassOf)];
                for (int i = 0; i < sorted.Length; i++) points[start + i] = sorted[i];
            }
            start = end + 1;
        }
    }

    /// <summary>
    /// Joins each character with the last starter before it, unless a mark of the same or a higher class lies between.
    /// </summary>
    private static void Compose(List<int> points)
    {
        int starter = -1, kept = 0, lastClass = 0;
        for (int i = 0; i < points.Count; i++)
        {
            int point = points[i], pointClass = ClassOf(point);
            bool adjacent = starter == kept - 1;
            if (starter >= 0 && (adjacent || lastClass < pointClass) && TryCompose(points[starter], point, out int composed))
            {
                points[starter] = composed;
                continue;
            }
            if (pointClass == 0) starter = kept;
            lastClass = pointClass;
            points[kept++] = point;
        }
        points.RemoveRange(kept, points.Count - kept);
    }

    private static bool TryCompose(int first, int second, out int composed)
    {
        int lead = first - LeadBase, vowel = second - VowelBase, syllable = first - SyllableBase, trail = second - TrailBase;
        if (lead is >= 0 and < LeadCount && vowel is >= 0 and < VowelCount)
        {
            composed = SyllableBase + (lead * VowelCount + vowel) * TrailCount;
            return true;
        }
        if (syllable is >= 0 and < SyllableCount && syllable % TrailCount == 0 && trail is > 0 and < TrailCount)
        {
            composed = first + trail;
            return true;
        }
        return Compositions.TryGetValue((first, second), out composed);
    }

    private static int ClassOf(int point) => Classes.GetValueOrDefault(point);
}
