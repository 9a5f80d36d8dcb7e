using System.Diagnostics;
using System.Runtime.InteropServices;

namespace KernelForge.Inference;

/// <summary>
/// Carries steps out with drafts: a drafter proposes tokens, one pass of the target model computes them together with prompt chunks and plain decodes, and
/// every sequence gains the drafted tokens that the target model would have chosen itself, and one more. Chains are not realigned: keys and values of rejected
/// tokens lie behind the new length and are overwritten. Branches of token trees have blocks of their own (<see cref="DraftPaths"/>), and when one is accepted
/// it is gathered into the blocks of its sequence.
/// </summary>
/// <remarks>
/// Batched speculative decoding as bookkeeping over paged KV (the ragged tensor problem of arXiv:2510.22876). The host waits for the device once a step, at its
/// end, and with early pruning once more in the middle of the pass. Tokens are those of a <see cref="ModelRunner"/>, bit for bit, greedy and sampled: the noise
/// that draws a token is a function of seed and position, and the operators give a row the same bits whatever stands beside it.
/// </remarks>
public sealed partial class SpeculativeRunner : IStepRunner, IDisposable
{
    private const int Start = 0, Drafted = 1, Verified = 2, Marks = 3;

    private readonly Transformer _model;
    private readonly KvCache _cache;
    private readonly IDrafter _drafter;
    private readonly Arena _arena;
    private readonly PrefixGroupFinder _groups;
    private readonly BatchBuilder _builder;
    private readonly TokenSampler _sampler;
    private readonly DraftVerifier _verifier;
    private readonly DraftPaths _paths;
    private readonly BranchMoves _moves;
    private readonly DraftRejection? _rejection;
    private readonly TreePruner? _pruner;
    private readonly PhaseClock _clock;
    private readonly StepCostFit _cost = new();
    private readonly DraftLedger _ledger = new();
    private readonly DraftBatch _drafts = new();
    private readonly StepResult _result = new();
    private readonly List<int> _proposals = [], _drafted = [];
    private readonly List<int> _nodeTokens = []; // by node of all rows: its place among the tokens of the pass
    private readonly List<int> _taken = []; // paths that the pass takes
    private int _tokens, _accepted;

    /// <summary>Takes ownership of model, cache and drafter.</summary>
    /// <param name="model">The target: what it would choose is what sequences gain.</param>
    /// <param name="cache">Where keys and values are, with the scheduler's block size and number of blocks, and those of branches behind them.</param>
    /// <param name="drafter">What proposes tokens.</param>
    /// <param name="options">How drafts are accepted.</param>
    /// <param name="maxTokens">Most query tokens of a step, drafts included.</param>
    /// <param name="maxRows">Most sequences of a step.</param>
    /// <param name="prefixGroups">Whether sequences that share a prefix read its keys and values together. Changes no bit of a result.</param>
    /// <param name="branchBlocks">Blocks at the end of the cache that the scheduler does not have. A token tree that needs more is cut.</param>
    public SpeculativeRunner(
        Transformer model, KvCache cache, IDrafter drafter, SpeculationOptions options, int maxTokens, int maxRows, bool prefixGroups = true, int branchBlocks = 0)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(cache);
        ArgumentNullException.ThrowIfNull(drafter);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        if (options.EarlyPruning is { } pruning && pruning.Layers >= model.Config.Layers)
            throw new ArgumentException(
                $"EarlyPruning.Layers must be 1 to {model.Config.Layers - 1} for a model of {model.Config.Layers} layers, not {pruning.Layers}.", nameof(options));
        (_model, _cache, _drafter) = (model, cache, drafter);
        _arena = new Arena(
            model.Device, ArenaBytes(model.Device, model.Config, model.ComputeType, model.MaxContext, cache.Format, options, maxTokens, maxRows, branchBlocks));
        _groups = new PrefixGroupFinder(model.Device, model.Config, cache, Math.Min(maxRows + branchBlocks, maxTokens), prefixGroups);
        _builder = new BatchBuilder(_groups, cache.Format.BlockSize);
        _sampler = new TokenSampler(model.Config);
        _verifier = new DraftVerifier(model.Config, cache.Format.BlockSize);
        _paths = new DraftPaths(cache.Format.BlockSize, cache.Blocks - branchBlocks, branchBlocks);
        _moves = new BranchMoves(cache);
        _rejection = options.RejectionSampling ? new DraftRejection() : null;
        _pruner = options.EarlyPruning is null ? null : new TreePruner(options.EarlyPruning);
        _clock = new PhaseClock(model.Device, Marks);
    }

    /// <inheritdoc/>
    public int MaxTokensPerStep => 1 + _drafter.MaxDraftLength;

    /// <inheritdoc/>
    public KvReads KvReads { get; private set; }

    /// <inheritdoc/>
    public SpeculationCounters Speculation { get; } = new();

    /// <inheritdoc/>
    public StepCost StepCost => _cost.Cost with { WantsPlain = _ledger.WantsPlain };

    /// <summary>Logits of the last step after penalties, a row for each node that stayed of the rows that sample, valid until the next step.</summary>
    internal DeviceMatrix LastLogits { get; private set; }

    /// <summary>The row of <see cref="LastLogits"/> that a token was chosen from.</summary>
    /// <param name="row">Its sequence among those that sampled in the last step.</param>
    /// <param name="index">Its place among the tokens that the sequence gained.</param>
    internal int LogitsRowOf(int row, int index) => LogitsRow(_verifier.FirstNode(row) + _verifier.Path(row)[index]);

    /// <summary>Whether nodes are dropped in this step.</summary>
    private bool Prunes => _pruner is not null && _drafts.Count > 0;

    /// <summary>Bytes of intermediate results for steps of that size.</summary>
    internal static long ArenaBytes(
        Device device, ModelConfig config, DType computeType, int maxContext, KvFormat format, SpeculationOptions options, int maxTokens, int maxRows,
        int branchBlocks = 0)
    {
        int rows = Math.Min(maxRows, maxTokens), paths = Math.Min(maxRows + branchBlocks, maxTokens), nodes = maxTokens; // every token may be a node
        (long plan, long workspace) = PrefixGroupFinder.Sizes(device, config, format, maxTokens, paths, maxContext);
        long batch = BatchBuilder.ArenaBytes(plan, maxTokens, nodes) + workspace;
        long pruning = options.EarlyPruning is null ? 0 // a second batch with results of its own
            : batch + LayerScratch.Bytes(config, computeType, maxTokens) + TreePruner.ArenaBytes(options.EarlyPruning, config, computeType, nodes)
                + BranchMoves.CopyBytes(branchBlocks, format.BlockSize);
        return batch + pruning + Transformer.ArenaBytes(config, computeType, maxTokens, nodes)
            + TokenSampler.ArenaBytes(nodes) + DraftVerifier.ArenaBytes(rows, nodes) + Arena.Rounded((long)nodes * sizeof(int))
            + BranchMoves.ArenaBytes(branchBlocks, format.BlockSize, rows, nodes)
            + (options.RejectionSampling ? DraftRejection.ArenaBytes(nodes, config.VocabularySize) : 0);
    }

    /// <inheritdoc/>
    public StepResult Run(StepPlan plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        if (plan.BlockSize != _cache.Format.BlockSize)
            throw new ArgumentException($"The plan has blocks of {plan.BlockSize} positions, the KV cache blocks of {_cache.Format.BlockSize}.");

        long start = Stopwatch.GetTimestamp();
        _clock.Mark(Start);
        _drafts.Clear();
        _drafter.Draft(plan, _drafts);
        _clock.Mark(Drafted);
        StepBatch batch = Batch(plan);
        LastLogits = Prunes ? PrunedForward(plan, batch) : _model.Forward(batch, _cache, _arena);
        DeviceSpan<int> tokens = Prunes ? _arena.Upload(_pruner!.Tokens) : NodeTokens(batch), chosen = Choose(tokens);
        _clock.Mark(Verified);
        _result.Clear();
        _accepted = 0;
        if (!chosen.IsEmpty)
        {
            Verify(tokens, chosen);
            Report(plan);
        }
        _drafter.Observe(plan, _drafts, _result);
        Count(plan, Stopwatch.GetElapsedTime(start));
        return _result;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _clock.Dispose();
        _arena.Dispose();
        _drafter.Dispose();
        _cache.Dispose();
        _model.Dispose();
    }

    /// <summary>The logits of the nodes that stay: what the first layers predict drops the others, and the host waits for it.</summary>
    private DeviceMatrix PrunedForward(StepPlan plan, in StepBatch batch)
    {
        int first = _pruner!.Layers, layers = _model.Config.Layers;
        ReadOnlySpan<int> nodeTokens = CollectionsMarshal.AsSpan(_nodeTokens);
        LayerScratch scratch = _model.Begin(batch, _arena);
        _model.Apply(batch, _cache, scratch, 0..first);
        int dropped = _pruner.Decide(_model, batch, scratch.Residual, nodeTokens, _arena);
        Speculation.Pruned += dropped;
        if (dropped == 0)
        {
            _model.Apply(batch, _cache, scratch, first..layers);
            return _model.Logits(batch.LogitTokens, scratch.Residual, _arena);
        }

        LayerScratch kept = _model.Keep(_pruner.Survivors(_builder.Tokens, nodeTokens, _arena), scratch, _arena);
        KvReads = KvReads.Plus(_groups.Reads, first - layers); // the other layers read for what stays only
        StepBatch rest = Flatten(plan);
        rest = _moves.Copy(_paths, CollectionsMarshal.AsSpan(_taken), first, rest, _arena);
        KvReads = KvReads.Plus(_groups.Reads, layers - first);
        _model.Apply(rest, _cache, kept, first..layers);
        return _model.Logits(rest.LogitTokens, kept.Residual, _arena);
    }

    private int LogitsRow(int node) => _pruner is null ? node : _pruner.RowOf(node);

    private DeviceSpan<int> NodeTokens(in StepBatch batch)
    {
        DeviceSpan<int> tokens = _arena.Span<int>(batch.LogitTokens.Length);
        _model.Device.Operators.Gather(batch.TokenIds, batch.LogitTokens, tokens);
        return tokens;
    }

    private DeviceSpan<int> Choose(DeviceSpan<int> tokens)
    {
        if (Prunes) return _pruner!.Spread(_sampler.Choose(LastLogits, _arena), _arena);
        return _rejection is null || _drafts.Count == 0
            ? _sampler.Choose(LastLogits, _arena)
            : _sampler.Choose(LastLogits, _arena, _rejection.Drafted(tokens, _arena), _rejection.LogitsOf(_drafts, _arena));
    }

    private void Verify(DeviceSpan<int> tokens, DeviceSpan<int> chosen)
    {
        _verifier.Verify(tokens, chosen, _arena);
        _moves.Accept(_paths, _verifier, _arena);
        _verifier.Fetch();
        Speculation.KvBytesMoved += _moves.BytesMoved(_paths, _verifier);
        _sampler.FetchLogProbs();
    }

    private void Report(StepPlan plan)
    {
        int sampling = 0;
        for (int i = 0; i < plan.Rows.Length; i++)
        {
            if (!plan.Rows[i].Samples) continue;
            SamplingOptions options = plan.Rows[i].Sequence.Request.Sampling;
            ReadOnlySpan<int> tokens = _verifier.Tokens(sampling), path = _verifier.Path(sampling);
            int firstNode = _verifier.FirstNode(sampling++);
            for (int t = 0; t < tokens.Length; t++) _result.Add(i, tokens[t], _sampler.LogProbsOf(LogitsRow(firstNode + path[t]), tokens[t], options));
            _drafts.SetAccepted(i, path);
            int drafted = _drafts.Nodes(i).Length;
            if (drafted == 0) continue;
            _result.SetDraftLength(i, _drafts.DepthOf(i));
            Speculation.Count(drafted, tokens.Length - 1);
            _accepted += tokens.Length - 1;
        }
    }

    private void Count(StepPlan plan, TimeSpan all)
    {
        TimeSpan draft = _clock.Between(Start, Drafted), verify = _clock.Between(Drafted, Verified);
        Speculation.DraftTime += draft;
        Speculation.VerifyTime += verify;
        Speculation.OtherTime += all - draft - verify;
        if (_drafts.Count > 0) Speculation.Rounds++;
        bool hasPrompts = false;
        int decodes = 0;
        foreach (ref readonly PlanRow row in plan.Rows)
        {
            hasPrompts |= row.Length > 1;
            if (row.Samples) decodes++;
        }
        int draftTokens = _drafts.Passes > 0 ? _drafts.PassTokens : _drafts.Count;
        StepCost cost = _cost.Cost;
        _ledger.Observe(
            new StepTime(verify.TotalSeconds, draft.TotalSeconds, decodes, _drafts.Count, _accepted, hasPrompts),
            cost.Step + cost.Token * _tokens, cost.DraftPass * _drafts.Passes + cost.DraftToken * draftTokens, cost.Token * _drafts.Count);
        if (hasPrompts) return; // tokens of prompts, many at once, are cheaper than those that a draft adds to a step
        _cost.Observe(verify.TotalSeconds, _tokens, draft.TotalSeconds, _drafts.Passes, draftTokens);
    }
}
