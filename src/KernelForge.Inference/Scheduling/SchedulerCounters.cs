namespace KernelForge.Inference;

/// <summary>What a scheduler has done and holds. Totals count from its construction.</summary>
public record struct SchedulerCounters
{
    /// <summary>Sequences in the queue.</summary>
    public int Waiting { get; internal set; }

    /// <summary>Sequences that hold blocks.</summary>
    public int Running { get; internal set; }

    /// <summary>Distinct blocks held by running sequences, and for turns to come.</summary>
    public int BlocksInUse { get; internal set; }

    /// <summary>Largest number of blocks in use after any plan.</summary>
    public int BlocksPeak { get; internal set; }

    /// <summary>Blocks kept for later sequences and free to be taken.</summary>
    public int BlocksCached { get; internal set; }

    /// <summary>Ended turns whose blocks are kept for the next one of their session; these blocks are in use.</summary>
    public int TurnsKept { get; internal set; }

    /// <summary>Turns that came while the blocks of the one before were kept.</summary>
    public long TurnsResumed { get; internal set; }

    /// <summary>Prompt tokens computed, each counted once per sequence that computed it.</summary>
    public long PromptTokensComputed { get; internal set; }

    /// <summary>Prompt tokens whose KV was shared when their sequence was first admitted.</summary>
    public long PromptTokensReused { get; internal set; }

    /// <summary>Tokens computed again after a preemption.</summary>
    public long TokensRecomputed { get; internal set; }

    /// <summary>Tokens generated.</summary>
    public long OutputTokens { get; internal set; }

    /// <summary>Times a running sequence was sent back to the queue.</summary>
    public long Preemptions { get; internal set; }

    /// <summary>Cached blocks that were taken for other tokens.</summary>
    public long Evictions { get; internal set; }

    /// <summary>Steps committed.</summary>
    public long Steps { get; internal set; }
}
