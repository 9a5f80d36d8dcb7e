namespace KernelForge.Inference;

/// <summary>Every number a user may set for an engine.</summary>
public sealed record EngineOptions
{
    /// <summary>Most query tokens in a step. More use the machine better; fewer keep the pause between two tokens of a stream short.</summary>
    public int TokenBudget { get; init; } = 512;

    /// <summary>Most sequences running at the same time.</summary>
    public int MaxSequences { get; init; } = 256;

    /// <summary>Token positions in a KV block.</summary>
    public int BlockSize { get; init; } = 16;

    /// <summary>KV blocks; null takes as many as <see cref="KvMemoryBytes"/> holds.</summary>
    public int? KvBlocks { get; init; }

    /// <summary>Memory for the KV cache in bytes; 1 GiB unless set. Not used when <see cref="KvBlocks"/> is set.</summary>
    public long KvMemoryBytes { get; init; } = 1L << 30;

    /// <summary>Element type of the KV cache: F32, F16 or BF16. The narrower ones take half the memory and round keys and values.</summary>
    public DType KvType { get; init; } = DType.F32;

    /// <summary>Most tokens of a sequence, prompt included; null takes the model's context length.</summary>
    public int? ContextLength { get; init; }

    /// <summary>Keeps computed blocks for later requests that begin alike. Does not change any token.</summary>
    public bool PrefixCache { get; init; } = true;

    /// <summary>Whether the next request may enter; reserving for the worst case by default.</summary>
    public IAdmissionPolicy Admission { get; init; } = new ReserveAllAdmission();

    /// <summary>Who is next; arrival by default.</summary>
    public IQueueOrder Order { get; init; } = new ArrivalOrder();

    /// <summary>Which of the decoding sequences step; all by default.</summary>
    public IDecodeSelector Decodes { get; init; } = new AllDecodes();

    /// <summary>Requests an <see cref="EngineHost"/> accepts before callers wait.</summary>
    public int QueueCapacity { get; init; } = 1024;

    /// <summary>Throws <see cref="ArgumentException"/> naming the option that is out of range.</summary>
    public void Validate()
    {
        Require(TokenBudget, nameof(TokenBudget));
        Require(MaxSequences, nameof(MaxSequences));
        Require(BlockSize, nameof(BlockSize));
        Require(KvBlocks ?? 1, nameof(KvBlocks));
        Require(KvMemoryBytes, nameof(KvMemoryBytes));
        Require(QueueCapacity, nameof(QueueCapacity));
        if (!KvType.IsFloat()) throw new ArgumentException($"EngineOptions.KvType must be F32, F16 or BF16, not {KvType}.", nameof(KvType));
        if (ContextLength is < 2)
            throw new ArgumentException($"EngineOptions.ContextLength must be null or 2 or more, not {ContextLength}.", nameof(ContextLength));
    }

    /// <summary>
    /// The scheduler's numbers for a model: bytes of KV per block decide the number of blocks unless it is set. Throws
    /// <see cref="ArgumentException"/> when the memory does not hold a single block.
    /// </summary>
    public SchedulerOptions ForModel(int modelContextLength, IReadOnlyList<int> endTokenIds, long bytesPerBlock, int maxTokensPerStep)
    {
        Validate();
        long blocks = KvBlocks ?? Math.Min(int.MaxValue / BlockSize, KvMemoryBytes / bytesPerBlock);
        if (blocks < 1)
            throw new ArgumentException($"EngineOptions.KvMemoryBytes must hold a block of {bytesPerBlock} bytes, {KvMemoryBytes} does not.");

        return new SchedulerOptions
        {
            BlockCount = (int)blocks,
            BlockSize = BlockSize,
            ContextLength = Math.Min(modelContextLength, ContextLength ?? modelContextLength),
            TokenBudget = TokenBudget,
            MaxSequences = MaxSequences,
            PrefixCache = PrefixCache,
            MaxTokensPerStep = maxTokensPerStep,
            EndTokenIds = endTokenIds,
            Admission = Admission,
            Order = Order,
            Decodes = Decodes,
        };
    }

    private static void Require(long value, string option)
    {
        if (value < 1) throw new ArgumentException($"EngineOptions.{option} must be 1 or more, not {value}.", option);
    }
}
