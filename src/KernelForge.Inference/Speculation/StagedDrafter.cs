using System.Runtime.InteropServices;

namespace KernelForge.Inference;

/// <summary>
/// Drafts the chains of a <see cref="DraftModelDrafter"/>, token for token, in fewer passes: n-gram lookup guesses how a chain goes on, and one pass of the draft
/// model tells how far it was right (staged speculative decoding, arXiv:2308.04623). Pays where a pass costs more than waiting for it: the tokens of every pass
/// come to the host, since the next guess depends on them.
/// </summary>
public sealed class StagedDrafter : IDrafter
{
    private readonly DraftModel _model;
    private readonly NGramDrafter _lookup;
    private readonly DeviceBuffer _chosen;
    private readonly List<Chain> _chains = [];
    private readonly List<int> _tokens = [], _found = []; // tokens of every chain, chain after chain; what a pass has chosen
    private int _spare;

    /// <summary>Takes ownership of model and cache.</summary>
    /// <param name="model">The draft model; <see cref="DraftModelDrafter.RequireSameVocabulary"/> holds.</param>
    /// <param name="cache">Its keys and values, with the target's block size and number of blocks.</param>
    /// <param name="options">How long drafts are.</param>
    /// <param name="maxTokens">Most query tokens of a pass, the engine's token budget.</param>
    /// <param name="maxRows">Most sequences of a step.</param>
    /// <param name="prefixGroups">Whether sequences that share a prefix read its keys and values together.</param>
    public StagedDrafter(Transformer model, KvCache cache, SpeculationOptions options, int maxTokens, int maxRows, bool prefixGroups = true)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(cache);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        MaxDraftLength = options.LongestDraft;
        int nodes = MostNodes(options, maxTokens, maxRows);
        _model = new DraftModel(model, cache, maxTokens, maxRows, nodes, prefixGroups);
        _lookup = new NGramDrafter(MaxDraftLength);
        _chosen = model.Device.Allocate(DType.I32, nodes);
    }

    /// <inheritdoc/>
    public int MaxDraftLength { get; }

    /// <summary>Bytes that the drafter allocates besides the model's weights and its KV cache.</summary>
    internal static long Bytes(
        Device device, ModelConfig config, DType computeType, int maxContext, KvFormat format, SpeculationOptions options, int maxTokens, int maxRows)
    {
        int nodes = MostNodes(options, maxTokens, maxRows);
        return DraftModel.ArenaBytes(device, config, computeType, maxContext, format, maxTokens, maxRows, nodes) + (long)nodes * sizeof(int);
    }

    /// <inheritdoc/>
    public void Draft(StepPlan plan, DraftBatch drafts)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(drafts);
        _model.BeginStep(plan);
        _lookup.DropFinished();
        CatchUp(plan);
        RunPass();
        while (Extend()) RunPass();
        Describe(plan, drafts);
    }

    /// <summary>Learns nothing: the context lengths of the next plan say what was accepted.</summary>
    public void Observe(StepPlan plan, DraftBatch drafts, StepResult result)
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _chosen.Dispose();
        _lookup.Dispose();
        _model.Dispose();
    }

    private static int MostNodes(SpeculationOptions options, int maxTokens, int maxRows) => (int)Math.Min(maxTokens, (long)maxRows * options.LongestDraft);

    /// <summary>As without guesses, with guesses where they take no room that a row needs.</summary>
    private void CatchUp(StepPlan plan)
    {
        _chains.Clear();
        _tokens.Clear();
        _spare = _model.Room;
        foreach (ref readonly PlanRow row in plan.Rows)
            if (_model.ChainLength(row, MaxDraftLength) > 0) _spare -= _model.Lacks(row);
        for (int i = 0; i < plan.Rows.Length; i++)
        {
            PlanRow row = plan.Rows[i];
            int length = _model.ChainLength(row, MaxDraftLength);
            if (length == 0 || !_model.CatchUp(row)) continue;
            var chain = new Chain { Row = i, Sequence = row.Sequence, Length = length, First = _tokens.Count };
            CollectionsMarshal.SetCount(_tokens, _tokens.Count + length);
            Guess(ref chain);
            _chains.Add(chain);
        }
    }

    /// <summary>Adds the token drafted last of every chain that wants more, and guesses; false when there is none.</summary>
    private bool Extend()
    {
        _model.BeginPass();
        _spare = _model.Room - _chains.Count;
        foreach (ref Chain chain in CollectionsMarshal.AsSpan(_chains))
        {
            if (chain.Known == chain.Length) continue;
            _model.AddDrafted(chain.Sequence, chain.Known - 1, TokensOf(chain)[chain.Known - 1]);
            Guess(ref chain);
        }
        return _model.Wanted > 0;
    }

    /// <summary>Wants the token behind the one added last, and adds guesses with the tokens behind them; the last token of a chain needs no guess.</summary>
    private void Guess(ref Chain chain)
    {
        Span<int> tokens = TokensOf(chain);
        int most = Math.Min(chain.Length - 1 - chain.Known, Math.Max(0, _spare));
        chain.Guesses = _lookup.Propose(chain.Sequence, tokens[..chain.Known], tokens.Slice(chain.Known, most));
        _spare -= chain.Guesses;
        _model.WantNext(chain.Sequence, chain.Known);
        for (int i = chain.Known; i < chain.Known + chain.Guesses; i++)
        {
            _model.AddGuess(chain.Sequence, i, tokens[i]);
            _model.WantNext(chain.Sequence, i + 1);
        }
    }

    private void RunPass()
    {
        DeviceSpan<int> chosen = _chosen.AsSpan<int>().Slice(0, _model.Wanted);
        _model.Run(default, chosen);
        if (chosen.IsEmpty) return;
        CollectionsMarshal.SetCount(_found, chosen.Length);
        chosen.CopyTo(CollectionsMarshal.AsSpan(_found));
        int next = 0;
        foreach (ref Chain chain in CollectionsMarshal.AsSpan(_chains))
        {
            if (chain.Known == chain.Length) continue;
            int nodes = 1 + chain.Guesses;
            Accept(ref chain, CollectionsMarshal.AsSpan(_found).Slice(next, nodes));
            next += nodes;
        }
    }

    /// <summary>Guesses count as far as they are what the model chose; its token behind the last right one counts too.</summary>
    private void Accept(ref Chain chain, ReadOnlySpan<int> chosen)
    {
        Span<int> tokens = TokensOf(chain)[chain.Known..];
        int right = 0;
        while (right < chain.Guesses && tokens[right] == chosen[right]) right++;
        tokens[right] = chosen[right];
        chain.Known += right + 1;
    }

    private Span<int> TokensOf(in Chain chain) => CollectionsMarshal.AsSpan(_tokens).Slice(chain.First, chain.Length);

    private void Describe(StepPlan plan, DraftBatch drafts)
    {
        drafts.Passes = _model.Passes;
        drafts.PassTokens = _model.QueryTokens;
        int next = 0;
        for (int i = 0; i < plan.Rows.Length; i++)
        {
            drafts.BeginRow();
            if (next == _chains.Count || _chains[next].Row != i) continue;
            ReadOnlySpan<int> tokens = TokensOf(_chains[next++]);
            for (int depth = 0; depth < tokens.Length; depth++) drafts.Add(depth, tokens[depth]);
        }
    }

    /// <summary>What is drafted for a row of the plan: Length tokens, the first Known of them by the model so far; behind them Guesses that a pass is to judge.</summary>
    private struct Chain
    {
        public int Row, Length, First, Known, Guesses;
        public Sequence Sequence;
    }
}
