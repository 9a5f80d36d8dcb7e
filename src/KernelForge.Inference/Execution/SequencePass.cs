namespace KernelForge.Inference;

/// <summary>
/// Token sequences one at a time, outside of the scheduler: for calibration and perplexity, which want every position of a text. Holds a KV cache
/// for one sequence and makes the batches of its chunks; the bits are those of a step.
/// </summary>
internal sealed class SequencePass : IDisposable
{
    private const int BlockSize = 16;

    private readonly PrefixGroupFinder _groups;
    private readonly BatchBuilder _builder;
    private readonly int[] _blocks;

    /// <param name="device">Where to compute.</param>
    /// <param name="config">The model.</param>
    /// <param name="computeType">Type of the activations, of keys and values too.</param>
    /// <param name="layers">Layers that have keys and values at the same time.</param>
    /// <param name="maxTokens">Most tokens of a sequence.</param>
    /// <param name="maxChunk">Most tokens of a batch.</param>
    /// <param name="workBytes">Bytes of <see cref="Arena"/> for the caller.</param>
    public SequencePass(Device device, ModelConfig config, DType computeType, int layers, int maxTokens, int maxChunk, long workBytes)
    {
        _blocks = [.. Enumerable.Range(0, (maxTokens + BlockSize - 1) / BlockSize)];
        var format = new KvFormat(BlockSize, config.KvHeads, config.HeadDim, computeType);
        (long plan, long workspace) = PrefixGroupFinder.Sizes(device, config, format, maxChunk, maxRows: 1, maxTokens);
        Cache = new KvCache(device, layers, format, _blocks.Length);
        try
        {
            Arena = new Arena(device, BatchBuilder.ArenaBytes(plan, maxChunk, logitRows: 1) + workspace + workBytes);
        }
        catch
        {
            Cache.Dispose();
            throw;
        }
        _groups = new PrefixGroupFinder(device, config, Cache, maxRows: 1, isOn: false);
        _builder = new BatchBuilder(_groups, BlockSize);
    }

    public KvCache Cache { get; }

    public Arena Arena { get; }

    /// <summary>
    /// Resets the arena and puts the batch of tokens start .. start + length - 1 into it. Those before must have keys and values in the cache. No logits
    /// are asked for.
    /// </summary>
    public StepBatch Batch(ReadOnlySpan<int> tokens, int start, int length)
    {
        _builder.Clear();
        _builder.BeginSequence(_blocks, start);
        _builder.Add(tokens.Slice(start, length));
        Arena.Reset();
        return _builder.Build(Arena);
    }

    public void Dispose()
    {
        Arena.Dispose();
        Cache.Dispose();
    }
}
