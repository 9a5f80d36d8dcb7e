namespace KernelForge.Tests;

public class NGramDrafterTests
{
    [Fact]
    public void Draft_RandomSequences_AgreesWithASearchFromTheEnd()
    {
        var random = new Random(5);
        int found = 0, runs = 0;
        for (int trial = 0; trial < 60; trial++)
        {
            (int min, int max) = (random.Next(1, 4), random.Next(3, 6));
            using var drafter = new NGramDrafter(maxDraftLength: 8, min, max);
            int alphabet = random.Next(1, 12);
            Sequence[] sequences = [.. Enumerable.Range(0, 4).Select(_ => SequenceOf(random, random.Next(1, 300), alphabet))];
            for (int step = 0; step < 40; step++)
            {
                StepPlan plan = PlanOf([.. sequences.Where(_ => random.Next(3) > 0).Select(sequence => (sequence, random.Next(1, 10)))]);
                foreach ((int[] expected, int[] actual) in Drafts(drafter, plan, min, max))
                {
                    Assert.Equal(expected, actual);
                    if (actual.Length > 0) found++;
                    runs++;
                }
                foreach (Sequence sequence in sequences)
                    for (int i = random.Next(5); i > 0; i--) sequence.Append(random.Next(alphabet));
            }
        }
        Assert.True(found > 1000 && runs - found > 100, $"{found} drafts in {runs} rows");
    }

    [Fact]
    public void Draft_LongestEndingAndLastOccurrence_Win()
    {
        // 1 2 3 ends it: 4 followed; 2 3 occurred later and 5 followed, and of two equal endings the later counts.
        Assert.Equal([4, 9, 2, 3, 5], Draft([8, 1, 2, 3, 6, 1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3], length: 5));
        Assert.Equal([5, 7, 2], Draft([2, 3, 4, 2, 3, 5, 7, 2, 3], length: 3));
        Assert.Empty(Draft([1, 2, 3, 4, 3], length: 3)); // one token is too short an ending
        Assert.Empty(Draft([1], length: 3));
    }

    [Fact]
    public void Draft_Repetition_GoesOnRepeating() => Assert.Equal([7, 8, 9, 7, 8, 9, 7], Draft([1, 7, 8, 9, 7, 8, 9], length: 7));

    [Fact]
    public void Draft_RowsThatDoNotSampleOrMayNotDraft_GetNothing()
    {
        using var drafter = new NGramDrafter(maxDraftLength: 3);
        int[] tokens = [1, 2, 3, 4, 1, 2];
        var plan = new StepPlan(16);
        plan.Add(new PlanRow(new Sequence(0, new Request(tokens), 0, 64), 0, 6, maxTokens: 0));
        plan.Add(new PlanRow(new Sequence(1, new Request(tokens), 0, 64), 5, 1, maxTokens: 1));
        plan.Add(new PlanRow(new Sequence(2, new Request(tokens), 0, 64), 5, 1, MaxTokens: 5, DraftTokens: 2));
        plan.Add(new PlanRow(new Sequence(3, new Request(tokens), 0, 64), 5, 1, MaxTokens: 9, DraftTokens: 20));
        var drafts = new DraftBatch();

        drafter.Draft(plan, drafts);

        Assert.Equal([0, 0, 2, 3], Enumerable.Range(0, 4).Select(row => drafts.Nodes(row).Length));
        Assert.Equal([new(0, 3, -1), new(1, 4, -1), new(2, 1, -1)], drafts.Nodes(3).ToArray());
    }

    [Fact]
    public void Draft_SequencesThatEnded_LeaveTheirIndexesToOthers()
    {
        using var drafter = new NGramDrafter(maxDraftLength: 2);
        var drafts = new DraftBatch();
        for (int i = 0; i < 1000; i++)
        {
            int[] tokens = [i, i + 1, i + 2, i, i + 1];
            var sequence = new Sequence(i, new Request(tokens), 0, 64) { Status = SequenceStatus.Running };
            drafts.Clear();
            drafter.Draft(PlanOf([(sequence, 3)]), drafts);
            Assert.Equal([i + 2, i], drafts.Nodes(0).ToArray().Select(node => node.Token));
            sequence.Status = SequenceStatus.Finished;
        }
        Assert.InRange(drafter.IndexCount, 1, 64);
    }

    [Fact]
    public void Draft_SteadyState_AllocatesNothing()
    {
        using var drafter = new NGramDrafter(maxDraftLength: 8);
        var random = new Random(2);
        StepPlan plan = PlanOf([.. Enumerable.Range(0, 8).Select(_ => (SequenceOf(random, 100, 3), 9))]);
        var drafts = new DraftBatch();
        void Step()
        {
            foreach (PlanRow row in plan.Rows) row.Sequence.Append(1);
            drafts.Clear();
            drafter.Draft(plan, drafts);
        }
        for (int i = 0; i < 5; i++) Step();

        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 10; i++) Step();

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Theory, InlineData(0, 2, 4), InlineData(4, 0, 4), InlineData(4, 3, 2)]
    public void Constructor_NumbersOutOfRange_Throws(int draftLength, int min, int max) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => new NGramDrafter(draftLength, min, max));

    private static int[] Draft(int[] tokens, int length)
    {
        using var drafter = new NGramDrafter(length);
        var drafts = new DraftBatch();
        drafter.Draft(PlanOf([(new Sequence(0, new Request(tokens), 0, 1000), length + 1)]), drafts);
        return [.. drafts.Nodes(0).ToArray().Select(node => node.Token)];
    }

    private static IEnumerable<(int[] Expected, int[] Actual)> Drafts(NGramDrafter drafter, StepPlan plan, int min, int max)
    {
        var drafts = new DraftBatch();
        drafter.Draft(plan, drafts);
        for (int i = 0; i < plan.Rows.Length; i++)
        {
            PlanRow row = plan.Rows[i];
            yield return (Expected([.. row.Sequence.Tokens], Math.Min(8, row.DraftTokens), min, max), [.. drafts.Nodes(i).ToArray().Select(node => node.Token)]);
        }
    }

    /// <summary>By definition: the longest ending, then its last occurrence that ends before the last token.</summary>
    private static int[] Expected(int[] tokens, int length, int min, int max)
    {
        for (int match = Math.Min(max, tokens.Length); match >= min; match--)
            for (int end = tokens.Length - 1; end >= match; end--)
            {
                if (!tokens.AsSpan(end - match, match).SequenceEqual(tokens.AsSpan(tokens.Length - match))) continue;
                List<int> all = [.. tokens];
                for (int i = 0; i < length; i++) all.Add(all[end + i]);
                return [.. all.Skip(tokens.Length)];
            }
        return [];
    }

    private static StepPlan PlanOf(IEnumerable<(Sequence Sequence, int MaxTokens)> rows)
    {
        var plan = new StepPlan(16);
        foreach ((Sequence sequence, int maxTokens) in rows) plan.Add(new PlanRow(sequence, sequence.Length - 1, 1, maxTokens));
        return plan;
    }

    private static Sequence SequenceOf(Random random, int length, int alphabet) =>
        new(0, new Request([.. Enumerable.Range(0, length).Select(_ => random.Next(alphabet))]), 0, 1000);
}
