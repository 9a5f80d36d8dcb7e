namespace KernelForge.Tests;

/// <summary>
/// Passes on what a drafter proposes, and holds it to what the draft model alone goes on with after the same tokens; null for the latter leaves it unchecked.
/// </summary>
internal sealed class CheckedDrafter(IDrafter product, ModelRun? alone) : IDrafter
{
    /// <summary>Drafted tokens that were compared.</summary>
    public int Checked { get; private set; }

    /// <summary>Passes of the draft model in every step, and their query tokens.</summary>
    public List<(int Passes, int Tokens)> Steps { get; } = [];

    public int MaxDraftLength => product.MaxDraftLength;

    public void Draft(StepPlan plan, DraftBatch drafts)
    {
        product.Draft(plan, drafts);
        Steps.Add((drafts.Passes, drafts.PassTokens));
        if (alone is not null) Check(plan, drafts, alone);
    }

    public void Observe(StepPlan plan, DraftBatch drafts, StepResult result) => product.Observe(plan, drafts, result);

    public void Dispose()
    {
        product.Dispose();
        alone?.Dispose();
    }

    private void Check(StepPlan plan, DraftBatch drafts, ModelRun alone)
    {
        int[] proposals = drafts.Proposals.ToArray();
        int[] rows = [.. Enumerable.Range(0, plan.Rows.Length).Where(row => drafts.Nodes(row).Length > 0)];
        List<Request> requests = [];
        foreach (int row in rows) requests.Add(GoOn(plan.Rows[row].Sequence, drafts.Nodes(row).Length));
        IReadOnlyList<Sequence> expected = alone.Run(requests);
        for (int i = 0; i < rows.Length; i++)
        {
            DraftNode[] nodes = drafts.Nodes(rows[i]).ToArray();
            Assert.Equal(Enumerable.Range(0, nodes.Length), nodes.Select(node => node.Parent));
            int[] drafted = [.. nodes.Select(node => node.Source >= 0 ? proposals[node.Source] : node.Token)];
            Assert.Equal(expected[i].OutputTokens.ToArray(), drafted.Take(expected[i].OutputLength)); // alone it stops at a stop token
            Checked += expected[i].OutputLength;
        }
    }

    /// <summary>The same sequence as a request for its next tokens.</summary>
    private static Request GoOn(Sequence sequence, int length)
    {
        SamplingOptions sampling = sequence.Request.Sampling;
        return new Request([.. sequence.Tokens], sampling with
        {
            N = 1,
            Seed = sequence.Seed,
            MaxTokens = length,
            MinTokens = Math.Clamp(sampling.MinTokens - sequence.OutputLength, 0, length),
        });
    }
}
