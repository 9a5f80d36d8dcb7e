namespace KernelForge;

/// <summary>
/// The sequences of a step as attention sees them. Sequence s has the query tokens QueryOffsets[s] .. QueryOffsets[s + 1] - 1; the first of them is at
/// absolute position ContextLengths[s].
/// </summary>
/// <param name="QueryOffsets">[sequences + 1], ascending from 0 to the number of query tokens.</param>
/// <param name="ContextLengths">[sequences] tokens whose keys and values were in the cache before the step.</param>
/// <param name="BlockOffsets">[sequences + 1]: where the block table of a sequence starts in <paramref name="BlockTables"/>.</param>
/// <param name="BlockTables">Block ids, in position order, of one sequence after the other; enough for context and query tokens.</param>
/// <param name="Window">Positions that a token sees, its own included; 0: all up to its own.</param>
public readonly record struct AttentionBatch(
    DeviceSpan<int> QueryOffsets, DeviceSpan<int> ContextLengths, DeviceSpan<int> BlockOffsets, DeviceSpan<int> BlockTables, int Window = 0)
{
    /// <summary>Sequences.</summary>
    public int Sequences => ContextLengths.Length;
}
