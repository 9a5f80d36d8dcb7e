namespace KernelForge;

/// <summary>
/// How the attention of a step is computed: which rows read which keys and values together, and how their parts come together. Made by an
/// <see cref="AttentionPlanner"/> once in a step, used by every layer; valid until the planner's next step. Whatever the plan, the bits of the result are
/// those of attention without one.
/// </summary>
public sealed class AttentionPlan
{
    internal AttentionPlan()
    {
    }

    /// <summary>The sequences it was made for.</summary>
    public AttentionBatch Batch { get; internal set; }

    /// <summary>Query tokens.</summary>
    public int Tokens { get; internal set; }

    /// <summary>Query heads of a key/value head.</summary>
    public int Group { get; internal set; }

    /// <summary>Key/value heads.</summary>
    public int KvHeads { get; internal set; }

    /// <summary>Elements of a head.</summary>
    public int HeadDim { get; internal set; }

    /// <summary>Token positions in a KV block.</summary>
    public int BlockSize { get; internal set; }

    /// <summary>Blocks of the cache: all ids of the batch are below.</summary>
    public int Blocks { get; internal set; }

    /// <summary>The device that it was made for.</summary>
    public AttentionTiling Tiling { get; internal set; }

    /// <summary>[tokens] row of queries and result of each token, in the order of the plan.</summary>
    internal DeviceSpan<int> RowTokens { get; set; }

    /// <summary>[tokens] absolute position of each token, in the order of the plan.</summary>
    internal DeviceSpan<int> RowPositions { get; set; }

    /// <summary>Items of up to <see cref="AttentionTiling.WideRows"/> rows, pass after pass: those of a pass depend on earlier passes only.</summary>
    internal DeviceSpan<AttentionItem> WideItems { get; set; }

    /// <summary>Items of up to <see cref="AttentionTiling.NarrowRows"/> rows and one split; they depend on wide items only.</summary>
    internal DeviceSpan<AttentionItem> NarrowItems { get; set; }

    /// <summary>What is left when all items are done.</summary>
    internal DeviceSpan<AttentionMerge> Merges { get; set; }

    /// <summary>Rows of the largest merge, or for a plan of fixed capacity the most there can be.</summary>
    internal int MergeRows { get; set; }

    /// <summary>Slot bases of records in the order in which they are folded; items and merges name runs of it.</summary>
    internal DeviceSpan<int> Folds { get; set; }

    /// <summary>
    /// Where the items of a launch start and end: a kernel reads two neighbours. [passes + 1] for wide items, then 0 and the number of narrow items, then 0 and
    /// the number of merges.
    /// </summary>
    internal DeviceSpan<int> Ranges { get; set; }

    /// <summary>Passes of wide items.</summary>
    internal int Passes { get; set; }

    /// <summary>[passes] items, or for a plan of fixed capacity the most there can be: blocks to launch, those in excess end at once.</summary>
    internal ReadOnlyMemory<int> WideGrids { get; set; }

    /// <summary>The same of narrow items and merges.</summary>
    internal (int Narrow, int Merges) Grids { get; set; }

    /// <summary>Memory for the states between items: [kv_heads] of <see cref="Slots"/> slots.</summary>
    internal DeviceSpan<float> Workspace { get; set; }

    /// <summary>Slots of a key/value head.</summary>
    internal int Slots { get; set; }
}
