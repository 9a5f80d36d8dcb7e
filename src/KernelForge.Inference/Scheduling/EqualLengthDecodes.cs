namespace KernelForge.Inference;

/// <summary>
/// Steps groups of one size and one context length, for execution in fixed shapes (EXSPEC, arXiv:2510.22876): of the oldest decoding sequences the first length
/// that enough of them have; where there is none, the oldest, whatever their lengths.
/// </summary>
/// <remarks>
/// Changes who steps when, never a token; an engine returns its completions in the order of the requests all the same. Nobody starves: the oldest sequence is
/// part of every fall-back, and after as many steps without it as the window is wide the fall-back is taken. Counts what it did, so it belongs to one scheduler
/// and its thread; planning again without a commit counts again.
/// </remarks>
public sealed class EqualLengthDecodes : IDecodeSelector
{
    private readonly int _groupSize, _window;
    private int _stepsWithoutOldest;

    /// <summary>Throws <see cref="ArgumentException"/> when a number is out of range.</summary>
    /// <param name="groupSize">Sequences of a step, 1 or more.</param>
    /// <param name="window">Oldest decoding sequences among which equal lengths are looked for, more than <paramref name="groupSize"/>.</param>
    public EqualLengthDecodes(int groupSize, int window)
    {
        if (groupSize < 1) throw new ArgumentException($"EqualLengthDecodes: the group size must be 1 or more, not {groupSize}.", nameof(groupSize));
        if (window <= groupSize)
            throw new ArgumentException($"EqualLengthDecodes: the window must be wider than the group size of {groupSize}, not {window}.", nameof(window));
        (_groupSize, _window) = (groupSize, window);
    }

    /// <summary>Steps with decoding sequences.</summary>
    public long Steps { get; private set; }

    /// <summary>Of those, steps with a full group of one context length.</summary>
    public long GroupedSteps { get; private set; }

    /// <summary>Share of the steps that were grouped, in [0, 1]; 0 before the first.</summary>
    public double GroupingRate => Steps > 0 ? (double)GroupedSteps / Steps : 0;

    /// <inheritdoc/>
    public void Choose(ReadOnlySpan<int> contextLengths, Span<bool> chosen)
    {
        chosen.Clear();
        if (contextLengths.IsEmpty) return;

        ReadOnlySpan<int> window = contextLengths[..Math.Min(_window, contextLengths.Length)];
        int last = _stepsWithoutOldest < _window ? LastOfFirstGroup(window) : -1;
        for (int i = 0; i <= last; i++) chosen[i] = window[i] == window[last];
        if (last < 0) chosen[..Math.Min(_groupSize, window.Length)].Fill(true);

        Steps++;
        GroupedSteps += last < 0 ? 0 : 1;
        _stepsWithoutOldest = chosen[0] ? 0 : _stepsWithoutOldest + 1;
    }

    /// <summary>The sequence that is the first to make a group full with those before it; negative when none does.</summary>
    private int LastOfFirstGroup(ReadOnlySpan<int> window)
    {
        for (int i = _groupSize - 1; i < window.Length; i++)
        {
            if (window[..(i + 1)].Count(window[i]) == _groupSize) return i;
        }
        return -1;
    }
}
