namespace KernelForge.Inference;

/// <summary>Counts what the steps of a scheduler compute.</summary>
/// <param name="blockCount">KV blocks there are.</param>
/// <param name="blockSize">Token positions in a block.</param>
/// <param name="sharesReads">
/// Whether attention reads a block once for all rows that have it, as it does with prefix groups; else once for every row.
/// </param>
public sealed class StepShapeCounter(int blockCount, int blockSize, bool sharesReads = true)
{
    private readonly long[] _readIn = new long[blockCount]; // the last step that read the block
    private long _step;

    /// <summary>
    /// The step's shape. Every planned draft counts as a chain that a draft model proposes token by token; that model computes the prompt's tokens too.
    /// Allocates nothing.
    /// </summary>
    public StepShape Of(StepPlan plan)
    {
        int tokens = 0, logitRows = 0, promptTokens = 0, drafted = 0, longest = 0;
        long attended = 0, read = 0;
        _step++;
        foreach (PlanRow row in plan.Rows)
        {
            long query = row.Cost;
            tokens += row.Cost;
            if (row.Samples) logitRows += 1 + row.DraftTokens;
            if (!IsDecode(row)) promptTokens += row.Length;
            drafted += row.DraftTokens;
            longest = Math.Max(longest, row.DraftTokens);
            attended += query * row.Start + query * (query + 1) / 2;
            read += sharesReads ? UnreadPositions(row) : row.Start + query;
        }
        return new StepShape
        {
            Tokens = tokens, LogitRows = logitRows, PromptTokens = promptTokens, AttendedPositions = attended, ReadPositions = read,
            DraftPasses = longest, DraftTokens = longest > 0 ? drafted + promptTokens : 0,
        };
    }

    /// <summary>Whether the row computes one generated token; other rows compute prompts, or what a preemption lost.</summary>
    internal static bool IsDecode(in PlanRow row) => row.Length == 1 && row.Samples && row.Start >= row.Sequence.PromptLength;

    /// <summary>
    /// Positions of the row that no row before it has. Sequences share beginnings only, so that below a block which was read all are.
    /// </summary>
    private long UnreadPositions(in PlanRow row)
    {
        ReadOnlySpan<int> blocks = row.Sequence.Table.Blocks;
        int end = row.Start + row.Cost, index = (end - 1) / blockSize;
        for (; index >= 0 && _readIn[blocks[index]] != _step; index--) _readIn[blocks[index]] = _step;
        return end - (long)(index + 1) * blockSize;
    }
}
