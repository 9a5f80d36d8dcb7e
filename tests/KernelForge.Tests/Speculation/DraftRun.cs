namespace KernelForge.Tests;

/// <summary>
/// A scheduler with drafts and without a target: chance says how many drafted tokens were right and which token comes after them. Drafts are cut to random
/// lengths or left out for whole steps, sequences are cancelled, blocks are scarce if the options say so.
/// </summary>
internal sealed class DraftRun(SchedulerOptions options, IDrafter drafter, Random random) : IDisposable
{
    private readonly Scheduler _scheduler = new(options with { MaxTokensPerStep = 1 + drafter.MaxDraftLength });
    private readonly DraftBatch _drafts = new();
    private readonly StepResult _result = new();

    public long Preemptions => _scheduler.Counters.Preemptions;

    /// <summary>Runs all requests to their ends.</summary>
    public void Run(IEnumerable<Request> requests)
    {
        List<Sequence> sequences = [.. requests.SelectMany(_scheduler.Add)];
        while (_scheduler.HasWork)
        {
            if (random.Next(40) == 0) _scheduler.Cancel(sequences[random.Next(sequences.Count)]);
            StepPlan plan = Cut(_scheduler.Plan());
            _drafts.Clear();
            drafter.Draft(plan, _drafts);
            Choose(plan);
            drafter.Observe(plan, _drafts, _result);
            _scheduler.Commit(plan, _result);
        }
    }

    public void Dispose() => drafter.Dispose();

    private StepPlan Cut(StepPlan plan)
    {
        var cut = new StepPlan(plan.BlockSize);
        bool drafts = random.Next(3) > 0;
        foreach (PlanRow row in plan.Rows)
        {
            int most = drafts ? 1 + random.Next(row.MaxTokens) : 1;
            cut.Add(new PlanRow(row.Sequence, row.Start, row.Length, Math.Min(row.MaxTokens, most)));
        }
        return cut;
    }

    private void Choose(StepPlan plan)
    {
        _result.Clear();
        int[] proposals = _drafts.Proposals.ToArray();
        for (int i = 0; i < plan.Rows.Length; i++)
        {
            if (!plan.Rows[i].Samples) continue;
            ReadOnlySpan<DraftNode> nodes = _drafts.Nodes(i);
            int accepted = random.Next(3) == 0 ? nodes.Length : random.Next(nodes.Length + 1);
            foreach (DraftNode node in nodes[..accepted]) _result.Add(i, node.Source >= 0 ? proposals[node.Source] : node.Token);
            _result.Add(i, random.Next(2, 97));
        }
    }
}
