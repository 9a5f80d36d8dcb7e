namespace KernelForge.Inference;

/// <summary>What a scheduler has done and holds. Totals count from its construction.</summary>
public record struct SchedulerCounters
{
    /// <summary>Sequences in the queue.</summary>
    public int Waiting { get; internal set; }

    /// <summary>Sequences that hold blocks.</summary>
    public int Running { get; internal set; }

    /// <summary>Distinct blocks held by running sequences.</summary>
    public int BlocksInUse { get; internal set; }

    /// <summary>Largest number of blocks in use after any plan.</summary>
    public int BlocksPeak { get; internal set; }

    /// <summary>Blocks kept for later sequences and free to be taken.</summary>
    public int BlocksCached { get; internal set; }

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

    /// <summary>Steps committed.</summary>
    public long Steps { get; internal set; }
}
