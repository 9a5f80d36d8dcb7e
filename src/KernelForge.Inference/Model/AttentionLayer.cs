namespace KernelForge.Inference;

/// <summary>
/// Self-attention of one layer: project, normalise queries and keys where the model does, rotate, store keys and values, attend, project back.
/// </summary>
internal sealed class AttentionLayer
{
    private readonly ModelConfig _config;
    private readonly Linear _query, _key, _value, _output;
    private readonly DeviceMatrix _queryNorm, _keyNorm;

    public AttentionLayer(ModelWeights weights, ModelConfig config, string name)
    {
        _config = config;
        int queryColumns = config.QueryHeads * config.HeadDim, kvColumns = config.KvHeads * config.HeadDim;
        _query = Linear.Load(weights, name + ".q_proj", queryColumns, config.HiddenSize, config.QkvBias);
        _key = Linear.Load(weights, name + ".k_proj", kvColumns, config.HiddenSize, config.QkvBias);
        _value = Linear.Load(weights, name + ".v_proj", kvColumns, config.HiddenSize, config.QkvBias);
        _output = Linear.Load(weights, name + ".o_proj", config.HiddenSize, queryColumns, config.OutputBias);
        if (!config.QkNorm) return;
        _queryNorm = weights.Load(name + ".q_norm.weight", 1, config.HeadDim);
        _keyNorm = weights.Load(name + ".k_norm.weight", 1, config.HeadDim);
    }

    /// <summary>Attends from <paramref name="x"/> and adds the layer's output to the residual stream.</summary>
    public void Apply(
        Operators operators, in DeviceMatrix x, in StepBatch batch, in KvLayer cache, in DeviceMatrix angles, in LayerScratch scratch, ILinearObserver? observer)
    {
        observer?.Observe(LinearInput.Attention, x);
        _query.Apply(operators, x, scratch.Queries);
        _key.Apply(operators, x, scratch.Keys);
        _value.Apply(operators, x, scratch.Values);
        if (_config.QkNorm)
        {
            NormaliseHeads(operators, scratch.Queries, _queryNorm);
            NormaliseHeads(operators, scratch.Keys, _keyNorm);
        }
        operators.Rope(scratch.Queries, batch.Positions, angles);
        operators.Rope(scratch.Keys, batch.Positions, angles);

        operators.AppendKv(scratch.Keys, scratch.Values, batch.Slots, cache);
        if (!batch.Copies.IsEmpty) operators.Realign(new ReadOnlySpan<KvLayer>(in cache), batch.Copies, batch.CopyGroups);
        operators.Attention(scratch.Queries, cache, batch.Attention, 1 / MathF.Sqrt(_config.HeadDim), scratch.Attended);
        observer?.Observe(LinearInput.AttentionOutput, scratch.Attended);
        _output.Apply(operators, scratch.Attended, scratch.Residual, scratch.Residual);
    }

    private void NormaliseHeads(Operators operators, in DeviceMatrix x, in DeviceMatrix weight)
    {
        DeviceMatrix heads = x.Reshape(x.Rows * x.Columns / _config.HeadDim, _config.HeadDim);
        operators.RmsNorm(heads, weight, _config.RmsNormEpsilon, heads);
    }
}
