namespace KernelForge.Inference;

/// <summary>
/// Drafts chains with a small model on the same device (speculative decoding, arXiv:2211.17192). The first pass takes what the model lacks of every sequence and
/// draws the first token, each further one takes the token drawn last; the tokens stay on the device, and the host waits for nothing. A token is drawn with the
/// target's settings and the target's noise, so that both choose the same one wherever they nearly agree; for rejection sampling with noise of its own, and the
/// logits that tokens were drawn from are kept.
/// </summary>
public sealed class DraftModelDrafter : IDrafter
{
    private readonly DraftModel _model;
    private readonly DeviceBuffer _tokens;
    private readonly DraftLogits? _logits; // for rejection sampling
    private readonly List<Chain> _chains = [];
    private readonly List<int> _sources = []; // of every chain's tokens, chain after chain
    private int _proposals;

    /// <summary>Takes ownership of model and cache.</summary>
    /// <param name="model">The draft model; <see cref="RequireSameVocabulary"/> holds.</param>
    /// <param name="cache">Its keys and values, with the target's block size and number of blocks.</param>
    /// <param name="options">How long drafts are.</param>
    /// <param name="maxTokens">Most query tokens of a pass, the engine's token budget.</param>
    /// <param name="maxRows">Most sequences of a step.</param>
    /// <param name="prefixGroups">Whether sequences that share a prefix read its keys and values together.</param>
    public DraftModelDrafter(Transformer model, KvCache cache, SpeculationOptions options, int maxTokens, int maxRows, bool prefixGroups = true)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(cache);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        MaxDraftLength = options.LongestDraft;
        int rows = Math.Min(maxRows, maxTokens);
        _model = new DraftModel(model, cache, maxTokens, maxRows, rows, prefixGroups, drawsApart: options.RejectionSampling);
        _tokens = model.Device.Allocate(DType.I32, (long)rows * MaxDraftLength);
        if (options.RejectionSampling) _logits = new DraftLogits(model.Device, rows, MaxDraftLength, model.Config.VocabularySize);
    }

    /// <inheritdoc/>
    public int MaxDraftLength { get; }

    /// <summary>Throws when a draft model's token ids cannot be those of a target.</summary>
    /// <exception cref="ArgumentException">The vocabularies have different sizes.</exception>
    public static void RequireSameVocabulary(ModelConfig target, ModelConfig draft)
    {
        ArgumentNullException.ThrowIfNull(target);
        ArgumentNullException.ThrowIfNull(draft);
        if (target.VocabularySize != draft.VocabularySize)
            throw new ArgumentException($"The draft model has {draft.VocabularySize} token ids, the model {target.VocabularySize}; a draft model must have the same vocabulary.");
    }

    /// <summary>Bytes that the drafter allocates besides the model's weights and its KV cache.</summary>
    internal static long Bytes(
        Device device, ModelConfig config, DType computeType, int maxContext, KvFormat format, SpeculationOptions options, int maxTokens, int maxRows)
    {
        int rows = Math.Min(maxRows, maxTokens);
        return DraftModel.ArenaBytes(device, config, computeType, maxContext, format, maxTokens, maxRows, rows) + (long)rows * options.LongestDraft * sizeof(int)
            + (options.RejectionSampling ? DraftLogits.Bytes(rows, options.LongestDraft, config.VocabularySize) : 0);
    }

    /// <inheritdoc/>
    public void Draft(StepPlan plan, DraftBatch drafts)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(drafts);
        _model.BeginStep(plan);
        CatchUp(plan);
        Run();
        for (int depth = 1; Extend(depth); depth++) Run();
        Describe(plan, drafts);
    }

    /// <summary>Learns nothing: the context lengths of the next plan say what was accepted.</summary>
    public void Observe(StepPlan plan, DraftBatch drafts, StepResult result)
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _logits?.Dispose();
        _tokens.Dispose();
        _model.Dispose();
    }

    /// <summary>Rows that draft come first; a chain begins where all that a row lacks has found room.</summary>
    private void CatchUp(StepPlan plan)
    {
        _chains.Clear();
        _sources.Clear();
        _proposals = 0;
        for (int i = 0; i < plan.Rows.Length; i++)
        {
            PlanRow row = plan.Rows[i];
            int length = _model.ChainLength(row, MaxDraftLength);
            if (length == 0 || !_model.CatchUp(row)) continue;
            _chains.Add(new Chain(i, row.Sequence, length, _sources.Count));
            for (int depth = 0; depth < length; depth++) _sources.Add(-1);
            WantNext(_chains[^1], 0);
        }
    }

    /// <summary>Adds the token drawn last of every chain that wants more; false when there is none.</summary>
    private bool Extend(int depth)
    {
        _model.BeginPass();
        int proposals = _proposals;
        foreach (Chain chain in _chains)
        {
            if (depth >= chain.Length) continue;
            _model.AddProposal(chain.Sequence, depth - 1, _sources[chain.First + depth - 1]);
            WantNext(chain, depth);
        }
        return _proposals > proposals;
    }

    private void WantNext(in Chain chain, int depth)
    {
        _model.WantNext(chain.Sequence, depth);
        _sources[chain.First + depth] = _proposals++;
    }

    /// <summary>The tokens of a pass follow those of the passes before.</summary>
    private void Run()
    {
        DeviceSpan<int> proposals = _tokens.AsSpan<int>().Slice(0, _proposals);
        int known = _proposals - _model.Wanted;
        DeviceMatrix logits = _model.Run(proposals.Slice(0, known), proposals.Slice(known, _model.Wanted));
        _logits?.Keep(logits, known);
    }

    private void Describe(StepPlan plan, DraftBatch drafts)
    {
        drafts.Proposals = _tokens.AsSpan<int>().Slice(0, _proposals);
        if (_logits is not null) drafts.Logits = _logits.Of(_proposals);
        drafts.Passes = _model.Passes;
        drafts.PassTokens = _model.QueryTokens;
        int next = 0;
        for (int i = 0; i < plan.Rows.Length; i++)
        {
            drafts.BeginRow();
            if (next == _chains.Count || _chains[next].Row != i) continue;
            Chain chain = _chains[next++];
            for (int depth = 0; depth < chain.Length; depth++) drafts.AddProposal(depth, _sources[chain.First + depth]);
        }
    }

    /// <summary>What is drafted for a row of the plan.</summary>
    /// <param name="Row">Its number.</param>
    /// <param name="Sequence">Its sequence.</param>
    /// <param name="Length">Tokens to draft.</param>
    /// <param name="First">Where the chain begins in the list of sources.</param>
    private readonly record struct Chain(int Row, Sequence Sequence, int Length, int First);
}
