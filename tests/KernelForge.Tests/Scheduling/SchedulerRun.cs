using KernelForge.Inference;

namespace KernelForge.Tests;

/// <summary>Runs a scheduler with a <see cref="HashRunner"/> and checks everything that must hold after every step.</summary>
internal sealed class SchedulerRun
{
    private readonly List<Sequence> _all = [], _live = [];

    public SchedulerRun(
        SchedulerOptions options, DraftOutcome drafts = DraftOutcome.AllRight, int branches = 1, DraftFlaw flaw = DraftFlaw.None, StepCost cost = default)
    {
        Scheduler = new Scheduler(options) { StepCost = cost };
        Runner = new HashRunner(options.BlockCount, options.BlockSize, options.MaxTokensPerStep, drafts)
        {
            Pool = Scheduler.Kv.Pool, Branches = branches, Flaw = flaw,
        };
    }

    public Scheduler Scheduler { get; }

    public HashRunner Runner { get; }

    public IReadOnlyList<Sequence> All => _all;

    public IReadOnlyList<Sequence> Add(Request request)
    {
        IReadOnlyList<Sequence> samples = Scheduler.Add(request);
        _all.AddRange(samples);
        _live.AddRange(samples);
        return samples;
    }

    public StepPlan Step()
    {
        HashSet<Sequence> running = [.. _live.Where(sequence => sequence.Status == SequenceStatus.Running)];
        long preemptions = Scheduler.Counters.Preemptions;
        StepPlan plan = Scheduler.Plan();
        CheckPlan(plan);
        if (Scheduler.Counters.Preemptions > preemptions)
            Assert.DoesNotContain(_live, sequence => sequence.Status == SequenceStatus.Running && !running.Contains(sequence));
        CheckState();
        Scheduler.Commit(plan, Runner.Run(plan));
        CheckState();
        return plan;
    }

    public void Finish(int maxSteps = 20_000)
    {
        while (Scheduler.HasWork)
        {
            Assert.True(maxSteps-- > 0, "The scheduler does not come to an end.");
            Assert.False(Step().IsEmpty, "There is work, and the plan is empty.");
        }
        Scheduler.ClearCache();
        CheckState();
        Assert.Equal(Scheduler.Options.BlockCount, Scheduler.Kv.Pool.FreeCount);
    }

    private void CheckPlan(StepPlan plan)
    {
        SchedulerOptions options = Scheduler.Options;
        var seen = new HashSet<Sequence>();
        int cost = 0;
        foreach (PlanRow row in plan.Rows)
        {
            cost += row.Cost;
            Assert.True(seen.Add(row.Sequence), "A sequence has two rows.");
            Assert.Equal(SequenceStatus.Running, row.Sequence.Status);
            Assert.Equal(row.Sequence.ComputedLength, row.Start);
            Assert.InRange(row.Length, 1, row.Sequence.Length - row.Start);
            Assert.Equal(row.Start + row.Length == row.Sequence.Length, row.Samples);
            Assert.InRange(row.MaxTokens, 0, Math.Min(options.MaxTokensPerStep, row.Sequence.MaxLength - row.Sequence.Length));
            int slots = row.Start + row.Length + Math.Max(row.MaxTokens - 1, 0);
            Assert.InRange(slots, 1, row.Sequence.Table.Count * options.BlockSize);
        }
        Assert.InRange(cost, 0, options.TokenBudget);
        Assert.InRange(Scheduler.Counters.Running, 0, options.MaxSequences);
    }

    /// <summary>Every reference is somebody's, and no block that will be written is shared.</summary>
    private void CheckState()
    {
        KvBlocks kv = Scheduler.Kv;
        kv.Pool.CheckIntegrity();
        kv.Tree.CheckIntegrity();
        Scheduler.CheckShares(recount: Scheduler.Counters.Steps % 7 == 0);

        var holders = new int[kv.Pool.Capacity];
        foreach (Sequence sequence in _live)
        {
            if (sequence.Status != SequenceStatus.Running) Assert.Equal(0, sequence.Table.Count);
            foreach (int block in sequence.Table.Blocks) holders[block]++;
        }
        _live.RemoveAll(sequence => sequence.Status == SequenceStatus.Finished);
        for (int block = 0; Scheduler.Pins.Count > 0 && block < holders.Length; block++) holders[block] += Scheduler.Pins.HoldersOf(block);
        for (int block = 0; block < holders.Length; block++)
            Assert.Equal(holders[block] + (kv.Tree.IsReady(block) ? 1 : 0), kv.Pool.References(block));
        Assert.Equal(holders.Count(count => count > 0), Scheduler.Counters.BlocksInUse);

        foreach (Sequence sequence in _live)
        {
            for (int i = sequence.ComputedLength / Scheduler.Options.BlockSize; i < sequence.Table.Count; i++)
                Assert.Equal(1, kv.Pool.References(sequence.Table[i]));
            int shared = sequence.Table.Blocks.ToArray().Count(block => holders[block] > 1);
            Assert.Equal(sequence.Table.Count - shared, kv.PrivateBlocks(sequence));
        }
        Assert.Equal(_live.Count(sequence => sequence.Status == SequenceStatus.Waiting), Scheduler.Counters.Waiting);
        Assert.Equal(_live.Count(sequence => sequence.Status == SequenceStatus.Running), Scheduler.Counters.Running);
    }
}
