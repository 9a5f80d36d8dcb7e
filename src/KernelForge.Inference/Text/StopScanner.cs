namespace KernelForge.Inference;

/// <summary>
/// Passes text on until one of the stop strings appears in it, however it is cut into pieces. Text that could still become a stop
/// string is held back.
/// </summary>
internal sealed class StopScanner(IReadOnlyList<string> stops, bool includeStop)
{
    private string _held = "";

    public bool Stopped { get; private set; }

    /// <summary>Takes more text and returns what is certain to be output.</summary>
    public string Append(string piece)
    {
        if (Stopped) return "";
        if (stops.Count == 0) return piece;

        string text = _held + piece;
        if (FindFirst(text) is { } end)
        {
            Stopped = true;
            _held = "";
            return text[..end];
        }

        int certain = text.Length - LongestBeginning(text);
        _held = text[certain..];
        return text[..certain];
    }

    /// <summary>Returns what was held back when no text follows.</summary>
    public string Flush()
    {
        string held = _held;
        _held = "";
        return held;
    }

    /// <summary>Where output ends if a stop string is in the text: the one that begins first, and of those the longest.</summary>
    private int? FindFirst(string text)
    {
        (int Start, int Length)? first = null;
        foreach (string stop in stops)
        {
            int start = text.IndexOf(stop, StringComparison.Ordinal);
            if (start < 0) continue;
            if (first is not { } best || start < best.Start || (start == best.Start && stop.Length > best.Length)) first = (start, stop.Length);
        }
        return first is { } found ? found.Start + (includeStop ? found.Length : 0) : null;
    }

    /// <summary>Length of the longest end of the text that begins a stop string.</summary>
    private int LongestBeginning(string text)
    {
        int longest = 0;
        foreach (string stop in stops)
        {
            for (int length = Math.Min(stop.Length - 1, text.Length); length > longest; length--)
            {
                if (!text.AsSpan(text.Length - length).SequenceEqual(stop.AsSpan(0, length))) continue;
                longest = length;
            }
        }
        return longest;
    }
}
