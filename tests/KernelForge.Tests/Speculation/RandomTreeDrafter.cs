namespace KernelForge.Tests;

/// <summary>Trees of random shape with random tokens; the right token is at a random place among the children of a right node, as often as told.</summary>
internal sealed class RandomTreeDrafter(int maxDraftLength, double right, Func<Sequence, int[]> answers) : IDrafter
{
    private readonly Random _random = new(17);

    public int MaxDraftLength => maxDraftLength;

    public void Draft(StepPlan plan, DraftBatch drafts)
    {
        foreach (PlanRow row in plan.Rows)
        {
            drafts.BeginRow();
            Grow(row, answers(row.Sequence).AsSpan(row.Sequence.OutputLength), drafts);
        }
    }

    public void Observe(StepPlan plan, DraftBatch drafts, StepResult result)
    {
    }

    public void Dispose()
    {
    }

    private void Grow(in PlanRow row, ReadOnlySpan<int> coming, DraftBatch drafts)
    {
        List<(int Depth, bool Right, bool HasRightChild)> nodes = [(0, true, false)];
        for (int i = 0; i < row.DraftTokens; i++)
        {
            int parent = _random.Next(2) == 0 ? nodes.Count - 1 : _random.Next(nodes.Count);
            if (nodes[parent].Depth >= row.MaxTokens - 1) continue;
            int place = nodes[parent].Depth;
            bool isRight = nodes[parent] is { Right: true, HasRightChild: false } && place < coming.Length && _random.NextDouble() < right;
            int token = place >= coming.Length ? _random.Next(97) : isRight ? coming[place] : (coming[place] + _random.Next(1, 97)) % 97;
            if (isRight) nodes[parent] = nodes[parent] with { HasRightChild = true };
            nodes.Add((place + 1, isRight, false));
            drafts.Add(parent, token);
        }
    }
}
