namespace KernelForge.Inference;

/// <summary>A block of the prefix tree that some running sequence is computing. The stamp tells two uses of one block apart.</summary>
internal readonly record struct PendingBlock(int Block, long Stamp);
