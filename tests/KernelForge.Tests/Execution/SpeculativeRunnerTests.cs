using CommunityToolkit.HighPerformance;

namespace KernelForge.Tests;

/// <summary>Speculation on a real model with drafts that are right as often as told: tokens and logits are those of plain decoding, bit for bit.</summary>
public sealed class SpeculativeRunnerTests : IDisposable
{
    private readonly TinyModel _tiny = TinyModel.Create("llama");

    public void Dispose() => _tiny.Dispose();

    [Theory]
    [InlineData(1, 100)]
    [InlineData(4, 0)]
    [InlineData(4, 2)]
    [InlineData(4, 100)]
    [InlineData(8, 100)]
    [InlineData(8, 5)]
    public void Tokens_DraftsRightForSome_EqualPlainDecodingBitForBit(int draftLength, int right)
    {
        foreach (float temperature in (float[])[0, 0.8f])
        {
            List<Request> requests = Workload.Requests(samples: 2, temperature);
            var plain = Run(requests, null, draftLength: 0);
            var drafted = Run(requests, sequence => plain.Tokens[(sequence.Request, sequence.SampleIndex)], draftLength, right);

            Assert.Equal(plain.Tokens, drafted.Tokens);
            foreach ((var key, float[] logits) in plain.Logits) Close.AssertSameBits(logits, drafted.Logits[key]);
            if (right > 0) Assert.True(drafted.Counters!.Accepted > 0, "No draft was accepted.");
            if (right < draftLength) Assert.True(drafted.Counters!.Drafted > drafted.Counters.Accepted, "No draft was rejected.");
            Assert.Equal(0, drafted.Counters!.KvBytesMoved);
        }
    }

    [Fact]
    public void Run_TooManyDrafts_SaysWhoseFault()
    {
        var error = Assert.Throws<InvalidOperationException>(() => Run(Workload.Requests(1, 0), _ => [.. Enumerable.Repeat(3, 96)], draftLength: 2, right: 100, excess: 1));
        Assert.Contains("drafted 3 tokens for a row that takes at most 2", error.Message);
    }

    private Answers Run(List<Request> requests, Func<Sequence, int[]>? answers, int draftLength, int right = 0, int excess = 0)
    {
        var options = new SchedulerOptions
        {
            BlockCount = 400, BlockSize = 4, ContextLength = Workload.ContextLength, TokenBudget = 40, MaxSequences = 7, MaxTokensPerStep = 1 + draftLength,
            EndTokenIds = [1],
        };
        using Transformer model = Transformer.Load(Device.Cpu, _tiny.Folder);
        var cache = new KvCache(Device.Cpu, model.Config.Layers, new KvFormat(4, model.Config.KvHeads, model.Config.HeadDim, DType.F32), options.BlockCount);
        using IDisposable runner = answers is null
            ? new ModelRunner(model, cache, options.TokenBudget, options.MaxSequences)
            : new SpeculativeRunner(model, cache, new KnowingDrafter(answers, draftLength, right, excess), new SpeculationOptions(), options.TokenBudget, options.MaxSequences);
        var result = new Answers((runner as SpeculativeRunner)?.Speculation);
        var scheduler = new Scheduler(options);
        List<Sequence> sequences = [.. requests.SelectMany(scheduler.Add)];
        while (scheduler.HasWork)
        {
            StepPlan plan = scheduler.Plan();
            StepResult step = ((IStepRunner)runner).Run(plan);
            result.Keep(plan, step, runner);
            scheduler.Commit(plan, step);
        }
        foreach (Sequence sequence in sequences) result.Tokens[(sequence.Request, sequence.SampleIndex)] = sequence.OutputTokens.ToArray();
        return result;
    }

    private sealed record Answers(SpeculationCounters? Counters)
    {
        public Dictionary<(Request, int), int[]> Tokens { get; } = [];

        public Dictionary<(Request, int, int Position), float[]> Logits { get; } = [];

        public void Keep(StepPlan plan, StepResult step, IDisposable runner)
        {
            DeviceMatrix last = runner is SpeculativeRunner speculative ? speculative.LastLogits : ((ModelRunner)runner).LastLogits;
            float[,] all = last.ToArray<float>();
            int node = 0;
            for (int i = 0; i < plan.Rows.Length; i++)
            {
                Sequence sequence = plan.Rows[i].Sequence;
                if (!plan.Rows[i].Samples) continue;
                for (int t = 0; t < step.Tokens(i).Length; t++)
                    Logits[(sequence.Request, sequence.SampleIndex, sequence.Length + t)] = new ReadOnlySpan2D<float>(all).GetRowSpan(node + t).ToArray();
                node += 1 + step.DraftLength(i);
            }
        }
    }

    /// <summary>Drafts what comes, right for the first so many tokens.</summary>
    private sealed class KnowingDrafter(Func<Sequence, int[]> answers, int draftLength, int right, int excess) : IDrafter
    {
        public int MaxDraftLength => draftLength;

        public void Draft(StepPlan plan, DraftBatch drafts)
        {
            foreach (PlanRow row in plan.Rows)
            {
                drafts.BeginRow();
                int[] answer = answers(row.Sequence);
                int count = row.DraftTokens > 0 ? row.DraftTokens + excess : 0;
                for (int i = 0; i < count; i++)
                {
                    int place = row.Sequence.OutputLength + i, token = place < answer.Length ? answer[place] : 5;
                    drafts.Add(i, i < right ? token : (token + 1) % 97);
                }
            }
        }

        public void Observe(StepPlan plan, DraftBatch drafts, StepResult result)
        {
        }

        public void Dispose()
        {
        }
    }
}
