using System.Runtime.InteropServices;

namespace KernelForge.Inference;

/// <summary>Carries steps out with one model: plan to batch, one forward pass, sampling. Decoding allocates nothing, but for log-probabilities and biases.</summary>
public sealed class ModelRunner : IStepRunner, IDisposable
{
    private readonly Transformer _model;
    private readonly KvCache _cache;
    private readonly Arena _arena;
    private readonly PrefixGroupFinder _groups;
    private readonly BatchBuilder _builder;
    private readonly TokenSampler _sampler;
    private readonly StepResult _result = new();
    private readonly List<int> _tokens = [];

    /// <summary>Takes ownership of model and cache.</summary>
    /// <param name="model">What computes.</param>
    /// <param name="cache">Where keys and values are, with the scheduler's block size and number of blocks.</param>
    /// <param name="maxTokens">Most query tokens of a step.</param>
    /// <param name="maxRows">Most sequences of a step.</param>
    /// <param name="prefixGroups">Whether sequences that share a prefix read its keys and values together. Changes no bit of a result.</param>
    public ModelRunner(Transformer model, KvCache cache, int maxTokens, int maxRows, bool prefixGroups = true)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(cache);
        (_model, _cache) = (model, cache);
        _arena = new Arena(model.Device, ArenaBytes(model.Device, model.Config, model.ComputeType, model.MaxContext, cache.Format, maxTokens, maxRows));
        _groups = new PrefixGroupFinder(model.Device, model.Config, cache, Math.Min(maxRows, maxTokens), prefixGroups);
        _builder = new BatchBuilder(_groups, cache.Format.BlockSize);
        _sampler = new TokenSampler(model.Config);
    }

    /// <inheritdoc/>
    public int MaxTokensPerStep => 1;

    /// <inheritdoc/>
    public KvReads KvReads { get; private set; }

    /// <summary>Logits of the last step's sampling rows after penalties, valid until the next step.</summary>
    internal DeviceMatrix LastLogits { get; private set; }

    /// <summary>Bytes of intermediate results for steps of that size.</summary>
    internal static long ArenaBytes(Device device, ModelConfig config, DType computeType, int maxContext, KvFormat format, int maxTokens, int maxRows)
    {
        int rows = Math.Min(maxRows, maxTokens); // a row has one token or more
        (long plan, long workspace) = PrefixGroupFinder.Sizes(device, config, format, maxTokens, rows, maxContext);
        return BatchBuilder.ArenaBytes(plan, maxTokens, rows) + workspace + Transformer.ArenaBytes(config, computeType, maxTokens, rows)
            + TokenSampler.ArenaBytes(rows);
    }

    /// <inheritdoc/>
    public StepResult Run(StepPlan plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        if (plan.BlockSize != _cache.Format.BlockSize)
            throw new ArgumentException($"The plan has blocks of {plan.BlockSize} positions, the KV cache blocks of {_cache.Format.BlockSize}.");

        _arena.Reset();
        _builder.Clear();
        _builder.AddRows(plan);
        StepBatch batch = _builder.Build(_arena);
        KvReads = KvReads.Plus(_groups.Reads, _model.Config.Layers);
        LastLogits = _model.Forward(batch, _cache, _arena);
        Choose(plan);
        return _result;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _arena.Dispose();
        _cache.Dispose();
        _model.Dispose();
    }

    private void Choose(StepPlan plan)
    {
        _result.Clear();
        if (LastLogits.Rows == 0) return;
        _sampler.Clear();
        foreach (ref readonly PlanRow row in plan.Rows)
            if (row.Samples) _sampler.Add(row.Sequence, 0, []);

        CollectionsMarshal.SetCount(_tokens, LastLogits.Rows);
        _sampler.Choose(LastLogits, _arena).CopyTo(CollectionsMarshal.AsSpan(_tokens));
        _sampler.FetchLogProbs();
        int logitRow = 0;
        for (int i = 0; i < plan.Rows.Length; i++)
        {
            if (!plan.Rows[i].Samples) continue;
            int token = _tokens[logitRow];
            _result.Add(i, token, _sampler.LogProbsOf(logitRow++, token, plan.Rows[i].Sequence.Request.Sampling));
        }
    }
}
