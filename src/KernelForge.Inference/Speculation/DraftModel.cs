using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KernelForge.Inference;

/// <summary>
/// A draft model on the target's block ids, with a KV cache of its own: knows which positions it has computed, takes what a row lacks, and runs passes. What it
/// lacks is one token after all drafts were accepted, more after steps without drafts, all of a prefix that was computed while nothing was drafted.
/// </summary>
internal sealed class DraftModel : IDisposable
{
    private readonly Transformer _model;
    private readonly KvCache _cache;
    private readonly Arena _arena;
    private readonly PrefixGroupFinder _groups;
    private readonly BatchBuilder _batch;
    private readonly TokenSampler _sampler;
    private readonly DraftCoverage _coverage;
    private readonly List<KvMove> _moves = [];
    private readonly List<int> _moveGroups = [];
    private readonly int _maxTokens;

    /// <summary>Takes ownership of model and cache.</summary>
    /// <param name="model">The draft model.</param>
    /// <param name="cache">Its keys and values, with the target's block size and number of blocks.</param>
    /// <param name="maxTokens">Most query tokens of a pass.</param>
    /// <param name="maxRows">Most sequences of a pass.</param>
    /// <param name="logitRows">Most tokens of a pass whose logits are wanted.</param>
    /// <param name="prefixGroups">Whether sequences that share a prefix read its keys and values together.</param>
    /// <param name="branchBlocks">Blocks of the cache for branches of token trees.</param>
    /// <param name="drawsApart">Draws tokens independently of the target, for rejection sampling; else with its noise.</param>
    public DraftModel(
        Transformer model, KvCache cache, int maxTokens, int maxRows, int logitRows, bool prefixGroups, int branchBlocks = 0, bool drawsApart = false)
    {
        (_model, _cache, _maxTokens) = (model, cache, maxTokens);
        _arena = new Arena(model.Device, ArenaBytes(model.Device, model.Config, model.ComputeType, model.MaxContext, cache.Format, maxTokens, maxRows, logitRows, branchBlocks));
        _groups = new PrefixGroupFinder(model.Device, model.Config, cache, Math.Min(maxRows, maxTokens), prefixGroups);
        _batch = new BatchBuilder(_groups, cache.Format.BlockSize);
        _sampler = new TokenSampler(model.Config, findsLogProbs: false, drawsApart);
        _coverage = new DraftCoverage(cache.Blocks, cache.Format.BlockSize);
    }

    /// <summary>Passes of the present step.</summary>
    public int Passes { get; private set; }

    /// <summary>Query tokens of these passes.</summary>
    public int QueryTokens { get; private set; }

    /// <summary>Tokens that the present pass is to choose.</summary>
    public int Wanted => _batch.LogitRows;

    /// <summary>Query tokens that the present pass can still take.</summary>
    public int Room => _maxTokens - _batch.Tokens;

    /// <summary>Bytes of intermediate results for passes of that size.</summary>
    public static long ArenaBytes(
        Device device, ModelConfig config, DType computeType, int maxContext, KvFormat format, int maxTokens, int maxRows, int logitRows, int branchBlocks = 0)
    {
        long moves = Arena.Rounded((long)branchBlocks * format.BlockSize * Unsafe.SizeOf<KvMove>()) + Arena.Rounded((2L * branchBlocks + 1) * sizeof(int));
        (long plan, long workspace) = PrefixGroupFinder.Sizes(device, config, format, maxTokens, Math.Min(maxRows, maxTokens), maxContext);
        return BatchBuilder.ArenaBytes(plan, maxTokens, logitRows) + workspace + Transformer.ArenaBytes(config, computeType, maxTokens, logitRows)
            + TokenSampler.ArenaBytes(logitRows) + moves;
    }

    /// <summary>Learns of a plan what every row's context length is, whether or not anything is drafted for it.</summary>
    public void BeginStep(StepPlan plan)
    {
        if (plan.BlockSize != _cache.Format.BlockSize)
            throw new ArgumentException($"The plan has blocks of {plan.BlockSize} positions, the draft model's KV cache blocks of {_cache.Format.BlockSize}.");

        (Passes, QueryTokens) = (0, 0);
        foreach (ref readonly PlanRow row in plan.Rows) _coverage.Forget(row.Sequence.Table.Blocks, row.Start);
        BeginPass();
    }

    /// <summary>Longest chain of at most <paramref name="most"/> tokens that can be drafted for a row; 0 where the model's context ends.</summary>
    public int ChainLength(in PlanRow row, int most) =>
        Math.Max(0, Math.Min(Math.Min(most, _model.MaxContext + 1 - row.Sequence.Length), Math.Min(row.DraftTokens, row.MaxTokens - 1)));

    /// <summary>Begins a pass that takes one row after the other.</summary>
    public void BeginPass()
    {
        _batch.Clear();
        _sampler.Clear();
        _moves.Clear();
        _moveGroups.Clear();
    }

    /// <summary>Tokens that a row lacks, if no other row has them taken before.</summary>
    public int Lacks(in PlanRow row) => Math.Min(row.Start + row.Length, _model.MaxContext) - _coverage.LengthOf(row.Sequence.Table.Blocks);

    /// <summary>
    /// Adds what a row lacks up to its last token, as far as there is room; true when that token is the one added last. Positions that a row before it in the
    /// same pass takes are there for it already.
    /// </summary>
    public bool CatchUp(in PlanRow row)
    {
        ReadOnlySpan<int> table = row.Sequence.Table.Blocks;
        int from = _coverage.LengthOf(table), end = row.Start + row.Length;
        int to = Math.Min(Math.Min(end, _model.MaxContext), from + Room);
        if (to <= from) return false;

        _batch.BeginSequence(table, from);
        _batch.Add(row.Sequence.Tokens[from..to]);
        _coverage.Cover(table, from, to);
        return to == end;
    }

    /// <summary>Adds a drafted token that is known on the device; nothing of its sequence is in the pass yet.</summary>
    /// <param name="sequence">Whose.</param>
    /// <param name="depth">Drafted tokens before it.</param>
    /// <param name="source">Where it is among the proposals.</param>
    public void AddProposal(Sequence sequence, int depth, int source)
    {
        _batch.BeginSequence(sequence.Table.Blocks, sequence.Length + depth);
        Add(sequence, depth, 0, source);
    }

    /// <summary>Adds a drafted token of a tree at a position of its path, which does not count as computed until <see cref="Cover"/> says so.</summary>
    /// <param name="blocks">Of the path.</param>
    /// <param name="position">The token's.</param>
    /// <param name="source">Where it is among the proposals.</param>
    public void AddNode(ReadOnlySpan<int> blocks, int position, int source)
    {
        _batch.BeginSequence(blocks, position);
        _batch.Add(0, source);
    }

    /// <summary>Moves keys and values before the pass: what a path that begins in it shares with the one that it leaves.</summary>
    public void AddMoves(ReadOnlySpan<KvMove> moves)
    {
        if (moves.IsEmpty) return;
        _moveGroups.Add(_moves.Count);
        _moves.AddRange(moves);
    }

    /// <summary>Positions [from, to) of a table have keys and values of the sequence's tokens.</summary>
    public void Cover(ReadOnlySpan<int> table, int from, int to) => _coverage.Cover(table, from, to);

    /// <summary>Adds a drafted token; nothing of its sequence is in the pass yet.</summary>
    public void AddDrafted(Sequence sequence, int depth, int token)
    {
        _batch.BeginSequence(sequence.Table.Blocks, sequence.Length + depth);
        Add(sequence, depth, token, source: -1);
    }

    /// <summary>Adds a token behind the one added last, of the same sequence. A wrong one has to be overwritten before the step ends.</summary>
    public void AddGuess(Sequence sequence, int depth, int token) => Add(sequence, depth, token, source: -1);

    /// <summary>Wants the token that the model chooses behind the token added last, <paramref name="depth"/> drafted tokens behind the sequence's own.</summary>
    public void WantNext(Sequence sequence, int depth)
    {
        _batch.WantLogits(_batch.Tokens - 1);
        _sampler.Add(sequence, depth, []); // penalties count the sequence's own tokens only: those drafted before are on the device
    }

    /// <summary>Runs the pass, if anything is in it.</summary>
    /// <param name="proposals">Drafted tokens so far.</param>
    /// <param name="chosen">Gets a token for each <see cref="WantNext"/>, or as many of the best ones for each as there is room for.</param>
    /// <returns>The logits that the tokens were drawn from, valid until the next pass.</returns>
    public DeviceMatrix Run(DeviceSpan<int> proposals, DeviceSpan<int> chosen)
    {
        Debug.Assert(_batch.LogitRows == 0 ? chosen.IsEmpty : chosen.Length % _batch.LogitRows == 0);
        if (_batch.Tokens == 0) return default;
        Passes++;
        QueryTokens += _batch.Tokens;
        _arena.Reset();
        Move();
        StepBatch batch = _batch.Build(_arena, proposals);
        DeviceMatrix logits = _model.Forward(batch, _cache, _arena);
        if (logits.Rows > 0) _sampler.Choose(logits, chosen, _arena);
        return logits;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _arena.Dispose();
        _cache.Dispose();
        _model.Dispose();
    }

    private void Move()
    {
        if (_moves.Count == 0) return;
        _moveGroups.Add(_moves.Count);
        DeviceSpan<KvMove> moves = _arena.Upload<KvMove>(CollectionsMarshal.AsSpan(_moves));
        _model.Device.Operators.Realign(_cache.Layers, moves, _arena.Upload<int>(CollectionsMarshal.AsSpan(_moveGroups)));
    }

    private void Add(Sequence sequence, int depth, int token, int source)
    {
        int position = sequence.Length + depth;
        _batch.Add(token, source);
        _coverage.Cover(sequence.Table.Blocks, position, position + 1);
    }
}
