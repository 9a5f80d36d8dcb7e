using KernelForge.Inference;

namespace KernelForge.Tests;

/// <summary>Drafts never change a token, whoever drafts and wherever sequences end: on hashes, where one wrong slot changes everything after it.</summary>
public class HashSpeculationTests
{
    private const int ContextLength = 64;

    private static readonly SchedulerOptions Ample = new()
    {
        BlockCount = 512, BlockSize = 4, ContextLength = ContextLength, TokenBudget = 256, EndTokenIds = [HashRunner.EndToken],
    };

    public static TheoryData<DraftOutcome, int> Drafters
    {
        get
        {
            var data = new TheoryData<DraftOutcome, int>();
            foreach (int branches in (int[])[1, 2])
            {
                for (int right = 0; right < 8; right++) data.Add((DraftOutcome)right, branches);
                data.Add(DraftOutcome.AllRight, branches);
                data.Add(DraftOutcome.Random, branches);
            }
            return data;
        }
    }

    [Theory, MemberData(nameof(Drafters))]
    public void Tokens_EndsAtEveryPlaceOfADraft_AreThoseOfTheDefinition(DraftOutcome outcome, int branches)
    {
        for (int draftLength = 1; draftLength <= 8; draftLength++)
        {
            var run = new SchedulerRun(Ample with { MaxTokensPerStep = 1 + draftLength }, outcome, branches);
            foreach (Request request in Requests()) run.Add(request);
            run.Finish();
            AssertExpected(run.All);
        }
    }

    [Fact]
    public void Requests_OfTheseTests_EndInEveryWayAtEveryPlace()
    {
        List<Request> requests = Requests();
        var ends = requests.Select(request => HashRunner.Expected(request, 0, ContextLength)).ToList();
        Assert.Contains(requests.Zip(ends), pair => pair.Second[^1] == HashRunner.EndToken && pair.Second.Count < pair.First.Sampling.MaxTokens);
        Assert.Contains(requests, request => request.PromptTokenIds is [0, 0, ..]);
        for (int length = 1; length <= 18; length++) Assert.Contains(ends, tokens => tokens.Count == length);
    }

    [Theory]
    [InlineData(DraftFlaw.BonusFromDraft, DraftOutcome.RightForTwo, 1)]
    [InlineData(DraftFlaw.BonusFromDraft, DraftOutcome.AllWrong, 1)]
    [InlineData(DraftFlaw.RejectedKvKept, DraftOutcome.RightForTwo, 1)]
    [InlineData(DraftFlaw.RejectedKvKept, DraftOutcome.Random, 1)]
    [InlineData(DraftFlaw.SiblingsVisible, DraftOutcome.AllRight, 2)]
    [InlineData(DraftFlaw.SiblingsVisible, DraftOutcome.Random, 3)]
    public void Tokens_WellKnownMistake_AreOthers(DraftFlaw flaw, DraftOutcome outcome, int branches)
    {
        foreach (DraftFlaw made in (DraftFlaw[])[DraftFlaw.None, flaw])
        {
            var run = new SchedulerRun(Ample with { MaxTokensPerStep = 7 }, outcome, branches, made);
            Sequence sequence = run.Add(new Request([1, 2, 3], new SamplingOptions { MaxTokens = 40, IgnoreEndToken = true }))[0];
            run.Finish();

            List<int> expected = HashRunner.Expected(sequence.Request, 0, ContextLength);
            if (made == DraftFlaw.None) Assert.Equal(expected, sequence.OutputTokens.ToArray());
            else Assert.NotEqual(expected, sequence.OutputTokens.ToArray());
        }
    }

    // Between steps and between plan and commit, when a runner has written KV of drafts.
    [Theory, InlineData(DraftOutcome.RightForTwo, 1), InlineData(DraftOutcome.Random, 1), InlineData(DraftOutcome.Random, 2)]
    public void Cancel_AnySequenceAtAnyStep_LeavesTheOthersTheirTokens(DraftOutcome outcome, int branches)
    {
        const int Sequences = 4, Steps = 9;
        for (int at = 0; at < Steps * Sequences * 2; at++)
        {
            var run = new SchedulerRun(Ample with { MaxTokensPerStep = 6, BlockCount = 40, TokenBudget = 21, Admission = new AggressiveAdmission() }, outcome, branches);
            for (int i = 0; i < Sequences; i++) run.Add(new Request([1, 2, 3, 4, 5, i], new SamplingOptions { MaxTokens = 18 + i }));
            for (int step = 0; step < at / (2 * Sequences); step++) run.Step();
            Sequence victim = run.All[at / 2 % Sequences];
            CancelNow(run, victim, isPlanned: at % 2 == 1);
            run.Finish();

            AssertExpected(run.All.Where(sequence => sequence != victim));
            int[] gained = victim.OutputTokens.ToArray();
            Assert.Equal(HashRunner.Expected(victim.Request, 0, ContextLength).Take(gained.Length), gained);
        }
    }

    [Theory, InlineData(DraftOutcome.AllRight, 1), InlineData(DraftOutcome.RightForTwo, 1), InlineData(DraftOutcome.Random, 1), InlineData(DraftOutcome.Random, 2)]
    public void Preempt_WheneverMemoryRunsOut_LeavesAllTheirTokens(DraftOutcome outcome, int branches)
    {
        var steps = new HashSet<long>();
        for (int blocks = 13; blocks < 50; blocks++)
        {
            var run = new SchedulerRun(Ample with { MaxTokensPerStep = 6, BlockCount = blocks, TokenBudget = 40, Admission = new AggressiveAdmission() }, outcome, branches);
            for (int i = 0; i < 6; i++)
                run.Add(new Request([1, 2, 3, 4, 5, i, .. Enumerable.Range(0, i)], new SamplingOptions { MaxTokens = 30 + i, IgnoreEndToken = true }));
            while (run.Scheduler.HasWork)
            {
                long preemptions = run.Scheduler.Counters.Preemptions;
                Assert.False(run.Step().IsEmpty, "There is work, and the plan is empty.");
                Assert.True(run.Scheduler.Counters.Steps < 2000, "The scheduler does not come to an end.");
                if (run.Scheduler.Counters.Preemptions > preemptions) steps.Add(run.Scheduler.Counters.Steps);
            }
            AssertExpected(run.All);
        }
        Assert.True(steps.Count >= 5, $"Sequences were preempted in the steps {string.Join(' ', steps)} only.");
    }

    /// <summary>
    /// Prompts of one token, and with tokens in them that padding uses elsewhere; limits and stop tokens after 1 to 18 tokens, the end token, the end of the context.
    /// </summary>
    private static List<Request> Requests()
    {
        int[][] prompts = [[5], [0], [HashRunner.EndToken], [0, 0, 3, 0], [4, HashRunner.EndToken, 0, HashRunner.EndToken, 9], [.. Enumerable.Range(0, 17)]];
        List<Request> requests = [];
        for (int length = 1; length <= 18; length++)
        {
            int[] prompt = prompts[length % prompts.Length];
            requests.Add(new Request(prompt, new SamplingOptions { MaxTokens = length, IgnoreEndToken = true }));
            prompt = [.. prompts[(length + 1) % prompts.Length], length];
            var sampling = new SamplingOptions { MaxTokens = 40, IgnoreEndToken = true, Temperature = length % 2 };
            int stop = HashRunner.Expected(new Request(prompt, sampling), 0, ContextLength)[length - 1];
            requests.Add(new Request(prompt, sampling with { StopTokenIds = [stop] }));
        }
        foreach (int[] prompt in prompts) requests.Add(new Request(prompt, new SamplingOptions { MaxTokens = 100, Seed = (ulong)prompt.Length, Temperature = 1 }));
        requests.Add(new Request([.. Enumerable.Range(0, ContextLength - 5)], new SamplingOptions { MaxTokens = 100, IgnoreEndToken = true }));
        return requests;
    }

    private static void CancelNow(SchedulerRun run, Sequence victim, bool isPlanned)
    {
        StepPlan? plan = isPlanned ? run.Scheduler.Plan() : null;
        StepResult? result = plan is null ? null : run.Runner.Run(plan);
        run.Scheduler.Cancel(victim);
        if (plan is not null) run.Scheduler.Commit(plan, result!);
    }

    private static void AssertExpected(IEnumerable<Sequence> sequences)
    {
        foreach (Sequence sequence in sequences)
            Assert.Equal(HashRunner.Expected(sequence.Request, sequence.SampleIndex, ContextLength), sequence.OutputTokens.ToArray());
    }
}
