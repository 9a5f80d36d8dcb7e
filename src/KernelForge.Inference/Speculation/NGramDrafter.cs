using System.Runtime.InteropServices;

namespace KernelForge.Inference;

/// <summary>
/// Drafts by prompt lookup: what followed the longest ending of a sequence where that ending occurred before, in the prompt or in the answer so far. Needs no
/// model and no device; strong where answers repeat their prompt, as in extraction. Allocates nothing but for new or longer sequences.
/// </summary>
public sealed class NGramDrafter : IDrafter
{
    private const int FewestBeforeSweep = 64;

    private readonly int _minMatch, _maxMatch;
    private readonly Dictionary<Sequence, NGramIndex> _indexes = [];
    private readonly Stack<NGramIndex> _free = [];
    private int _sweepAt = FewestBeforeSweep;

    /// <summary>A drafter for one engine.</summary>
    /// <param name="maxDraftLength">Most tokens drafted for a sequence in a step, at least 1.</param>
    /// <param name="minMatch">Tokens of the shortest ending that is looked up, at least 1.</param>
    /// <param name="maxMatch">Tokens of the longest ending that is looked up.</param>
    /// <exception cref="ArgumentOutOfRangeException">A number is too small, or <paramref name="maxMatch"/> below <paramref name="minMatch"/>.</exception>
    public NGramDrafter(int maxDraftLength, int minMatch = 2, int maxMatch = 4)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(maxDraftLength, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(minMatch, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(maxMatch, minMatch);
        (MaxDraftLength, _minMatch, _maxMatch) = (maxDraftLength, minMatch, maxMatch);
    }

    /// <inheritdoc/>
    public int MaxDraftLength { get; }

    /// <summary>Sequences that have an index.</summary>
    internal int IndexCount => _indexes.Count;

    /// <inheritdoc/>
    public void Draft(StepPlan plan, DraftBatch drafts)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(drafts);
        DropFinished();
        foreach (ref readonly PlanRow row in plan.Rows)
        {
            drafts.BeginRow();
            int length = Math.Min(MaxDraftLength, Math.Min(row.DraftTokens, row.MaxTokens - 1));
            if (length > 0) AddChain(row.Sequence, length, drafts);
        }
    }

    /// <summary>Learns nothing: tokens that were accepted are in the sequence at the next step.</summary>
    public void Observe(StepPlan plan, DraftBatch drafts, StepResult result)
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }

    /// <summary>
    /// Drafts a chain behind a sequence and tokens that were drafted before; returns its length: that of the span, or 0 when nothing was found.
    /// </summary>
    internal int Propose(Sequence sequence, ReadOnlySpan<int> drafted, Span<int> chain)
    {
        if (chain.IsEmpty) return 0;
        ReadOnlySpan<int> tokens = sequence.Tokens;
        int start = IndexOf(sequence).FindContinuation(tokens, drafted);
        if (start == 0) return 0;
        // What followed may run into the end of the sequence, and goes on with the draft itself there: a repetition goes on repeating.
        for (int i = 0; i < chain.Length; i++)
        {
            int behind = start + i - tokens.Length;
            chain[i] = behind < 0 ? tokens[start + i] : behind < drafted.Length ? drafted[behind] : chain[behind - drafted.Length];
        }
        return chain.Length;
    }

    /// <summary>Now and then gives the indexes of sequences that have ended to others; preempted ones keep theirs.</summary>
    internal void DropFinished()
    {
        if (_indexes.Count < _sweepAt) return;
        foreach ((Sequence sequence, NGramIndex index) in _indexes)
        {
            if (sequence.Status != SequenceStatus.Finished) continue;
            _indexes.Remove(sequence);
            index.Clear();
            _free.Push(index);
        }
        _sweepAt = Math.Max(FewestBeforeSweep, 2 * _indexes.Count);
    }

    private void AddChain(Sequence sequence, int length, DraftBatch drafts)
    {
        Span<int> chain = stackalloc int[length];
        chain = chain[..Propose(sequence, [], chain)];
        for (int i = 0; i < chain.Length; i++) drafts.Add(i, chain[i]);
    }

    private NGramIndex IndexOf(Sequence sequence)
    {
        ref NGramIndex? index = ref CollectionsMarshal.GetValueRefOrAddDefault(_indexes, sequence, out _);
        return index ??= _free.TryPop(out NGramIndex? free) ? free : new NGramIndex(_minMatch, _maxMatch);
    }
}
