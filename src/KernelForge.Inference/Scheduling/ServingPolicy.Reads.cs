namespace KernelForge.Inference;

/// <content>What attention reads.</content>
public sealed partial class ServingPolicy
{
    private static readonly HashSet<string> Others = ["vllm", "vllm-1024", "vllm-v1", "sglang", "static", "orca", "fcfs-lru", "fcfs-sorted"];

    /// <summary>
    /// Whether attention reads a prefix once for all sequences of a step that share it. Ours does; the systems that other policies stand for read it for each
    /// sequence, as their paged attention does by default.
    /// </summary>
    public bool SharesPrefixReads => !Others.Contains(Name);
}
