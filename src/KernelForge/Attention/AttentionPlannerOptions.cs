namespace KernelForge;

/// <summary>Which common prefixes of a step's sequences are read together. It never changes a result.</summary>
public enum AttentionSharing
{
    /// <summary>Those that make the whole step cheapest by a cost model: the exact optimum of it.</summary>
    Best,

    /// <summary>Each prefix by itself, from the shortest on, as FastTree decides (MLSys'25): faster to decide, at times worse.</summary>
    Greedy,

    /// <summary>None.</summary>
    Off,

    /// <summary>All.</summary>
    All,
}

/// <summary>What an <see cref="AttentionPlanner"/> plans for.</summary>
/// <param name="Format">Shape of the cache.</param>
/// <param name="Blocks">Blocks of the cache; block ids are below.</param>
/// <param name="QueryHeads">Query heads, a multiple of the key/value heads.</param>
/// <param name="Tiling">Of the device: <see cref="Operators.AttentionTiling"/>.</param>
public sealed record AttentionPlannerOptions(KvFormat Format, int Blocks, int QueryHeads, AttentionTiling Tiling)
{
    /// <summary>Positions that a token sees, its own included; 0: all up to its own.</summary>
    public int Window { get; init; }

    /// <summary>Which common prefixes are read together.</summary>
    public AttentionSharing Sharing { get; init; }

    /// <summary>Most states of a key/value head that are kept between items; what finds no room is computed with fewer of them, if less in parallel.</summary>
    public int MaxSlots { get; init; } = 1 << 16;

    /// <summary>Most launches of wide items, at least 1. A prefix that would need more is not shared.</summary>
    public int MaxPasses { get; init; } = 8;

    /// <summary>Sizes up to which every plan has the same layout and launches, so that a captured graph can be replayed with a new plan; null: each as it needs.</summary>
    public AttentionCapacity? Capacity { get; init; }

    internal int Group => QueryHeads / Format.KvHeads;

    internal void Check()
    {
        KernelForge.Check.That(Format is { BlockSize: > 0, KvHeads: > 0, HeadDim: > 0 } && Blocks >= 0, $"AttentionPlanner: {Blocks} blocks of {Format}");
        KernelForge.Check.That(QueryHeads > 0 && QueryHeads % Format.KvHeads == 0,
            $"AttentionPlanner: {QueryHeads} query heads, expected a multiple of {Format.KvHeads} key/value heads");
        KernelForge.Check.That(Tiling is { TileSize: > 0, WideRows: > 0, NarrowRows: >= 0, Processors: > 0 } && Tiling.SplitSize > 0 && Tiling.SplitSize % Tiling.TileSize == 0,
            $"AttentionPlanner: {Tiling}, expected positive sizes, and splits of whole tiles");
        KernelForge.Check.That(Window >= 0 && MaxSlots >= 0 && MaxPasses >= 1,
            $"AttentionPlanner: window {Window}, {MaxSlots} slots, {MaxPasses} passes; expected at least 0, 0, 1");
    }
}

/// <summary>The largest step that a planner of fixed capacity takes. Queries and result then have <paramref name="Tokens"/> rows; those behind the step's are left alone.</summary>
/// <param name="Tokens">Query tokens.</param>
/// <param name="Sequences">Sequences.</param>
/// <param name="BlockIds">Block ids in the tables of all sequences.</param>
/// <param name="Items">Items of either kind.</param>
public sealed record AttentionCapacity(int Tokens, int Sequences, int BlockIds, int Items);
