namespace KernelForge.Inference;

/// <summary>
/// Finds which rows of a step have block tables that start alike, in any number of groups and levels, so that attention reads what they share together
/// (Hydragen, arXiv:2402.05099). It only changes how the work is cut, never a bit of a result.
/// </summary>
internal sealed class PrefixGroupFinder
{
    /// <summary>Slots for every query head of a row: a record and a carry in each of three levels, and two splits of its own.</summary>
    private const int SlotsPerQuery = 8;

    private readonly AttentionPlanner _planner;

    /// <param name="device">Where attention is computed.</param>
    /// <param name="config">The model.</param>
    /// <param name="cache">Its keys and values.</param>
    /// <param name="maxRows">Most sequences of a step.</param>
    /// <param name="isOn">Off: rows read their keys and values each by itself.</param>
    public PrefixGroupFinder(Device device, ModelConfig config, KvCache cache, int maxRows, bool isOn) =>
        _planner = new AttentionPlanner(OptionsOf(device, config, cache.Format, maxRows) with
        {
            Blocks = cache.Blocks,
            Sharing = isOn ? AttentionSharing.Best : AttentionSharing.Off,
        });

    /// <summary>The plan of the last step, to be uploaded.</summary>
    public ReadOnlySpan<int> Memory => _planner.Memory;

    /// <summary>What one layer reads in the last step.</summary>
    public AttentionReads Reads => _planner.Reads;

    /// <summary>Plans the attention of a step. The arguments are those of <see cref="AttentionBatch"/>, on the host; they are copied.</summary>
    public void Find(ReadOnlySpan<int> queryOffsets, ReadOnlySpan<int> contextLengths, ReadOnlySpan<int> blockOffsets, ReadOnlySpan<int> blockTables) =>
        _planner.Plan(queryOffsets, contextLengths, blockOffsets, blockTables);

    /// <summary>The plan of the last step.</summary>
    /// <param name="memory">A copy of <see cref="Memory"/>.</param>
    /// <param name="arena">Where states between items are kept.</param>
    public AttentionPlan On(DeviceSpan<int> memory, Arena arena) => _planner.On(memory, arena.Span<float>(checked((int)_planner.WorkspaceLength)));

    /// <summary>Ints of the largest plan, and bytes of an arena for the states between its items.</summary>
    public static (long MemoryLength, long WorkspaceBytes) Sizes(Device device, ModelConfig config, KvFormat format, int maxTokens, int maxRows, int maxContext)
    {
        AttentionPlannerOptions options = OptionsOf(device, config, format, maxRows);
        int blocks = (int)(((long)maxContext + format.BlockSize - 1) / format.BlockSize);
        long workspace = (long)options.MaxSlots * format.KvHeads * options.Tiling.SlotFloats * sizeof(float);
        return (AttentionPlanner.MaxMemoryLength(options, maxTokens, maxRows, blocks), Arena.Rounded(workspace));
    }

    private static AttentionPlannerOptions OptionsOf(Device device, ModelConfig config, KvFormat format, int maxRows)
    {
        AttentionTiling tiling = device.Operators.AttentionTiling(format);
        long slots = (long)SlotsPerQuery * maxRows * (config.QueryHeads / format.KvHeads), most = int.MaxValue / ((long)format.KvHeads * tiling.SlotFloats);
        return new AttentionPlannerOptions(format, 0, config.QueryHeads, tiling) { MaxSlots = (int)Math.Min(slots, most) };
    }
}
