using System.Runtime.InteropServices;

namespace KernelForge.Inference;

/// <summary>
/// One sequence's part in a step: compute KV for tokens [Start, Start + Length) and, when <see cref="Samples"/>, choose up to
/// <see cref="MaxTokens"/> tokens that follow.
/// </summary>
/// <param name="Sequence">Whose tokens; its table has a slot for every position below Start + Length + max(MaxTokens - 1, 0).</param>
/// <param name="Start">Context length: tokens with valid KV before this step.</param>
/// <param name="Length">Query length, at least 1.</param>
/// <param name="MaxTokens">Most tokens the row may gain; 0 when tokens of the prompt are left for later steps.</param>
/// <param name="DraftTokens">Most tokens that may be drafted for the row: MaxTokens - 1 for chains, more for trees; 0 when the row does not sample.</param>
public readonly record struct PlanRow(Sequence Sequence, int Start, int Length, int MaxTokens, int DraftTokens)
{
    /// <summary>A row whose drafts are a chain.</summary>
    public PlanRow(Sequence sequence, int start, int length, int maxTokens) : this(sequence, start, length, maxTokens, Math.Max(maxTokens - 1, 0))
    {
    }

    /// <summary>Whether the row's last position is the sequence's last token, so that the next one is wanted.</summary>
    public bool Samples => MaxTokens > 0;

    /// <summary>Token ids to compute.</summary>
    public ReadOnlySpan<int> Tokens => Sequence.Tokens.Slice(Start, Length);

    /// <summary>Query tokens the row may cost, drafts included; the unit of the token budget.</summary>
    public int Cost => Length + DraftTokens;
}

/// <summary>What the scheduler chose to run in one step. Reused: valid until the next plan.</summary>
public sealed class StepPlan
{
    private readonly List<PlanRow> _rows = [];

    internal StepPlan(int blockSize) => BlockSize = blockSize;

    /// <summary>Token positions in a KV block; the slot of position p is table[p / BlockSize] * BlockSize + p % BlockSize.</summary>
    public int BlockSize { get; }

    /// <summary>Decodes first, then prefill chunks; no sequence has two rows.</summary>
    public ReadOnlySpan<PlanRow> Rows => CollectionsMarshal.AsSpan(_rows);

    /// <summary>Query tokens of all rows, drafts not included.</summary>
    public int QueryTokens { get; private set; }

    /// <summary>What its time depends on; drafted tokens count as prompt tokens, which cost as much.</summary>
    public StepLoad Load { get; private set; }

    /// <summary>Whether there is nothing to run.</summary>
    public bool IsEmpty => _rows.Count == 0;

    internal void Clear()
    {
        _rows.Clear();
        QueryTokens = 0;
        Load = default;
    }

    internal void Add(in PlanRow row)
    {
        _rows.Add(row);
        QueryTokens += row.Length;
        Load = LoadWith(row);
    }

    private StepLoad LoadWith(in PlanRow row)
    {
        bool decodes = row.Samples && row.Length == 1;
        int prompt = row.Cost - (decodes ? 1 : 0), before = row.Start + (decodes ? 1 : 0);
        return new StepLoad(
            Load.Decodes + (decodes ? 1 : 0),
            Load.DecodeContext + (decodes ? row.Start : 0),
            Load.PromptTokens + prompt,
            Load.PromptContext + prompt * (long)before + prompt * (prompt + 1L) / 2);
    }
}
