using KernelForge.Inference;

namespace KernelForge.Tests;

public class ServingPolicyTests
{
    private static readonly SchedulerOptions Bare = new()
    {
        BlockCount = 40, BlockSize = 4, ContextLength = 96, TokenBudget = 24, MaxSequences = 6, EndTokenIds = [HashRunner.EndToken],
    };

    public static TheoryData<string> Names => [.. ServingPolicy.Names];

    [Fact]
    public void Named_Unknown_ListsTheKnownOnes()
    {
        string message = Assert.Throws<ArgumentException>(() => ServingPolicy.Named("vlm")).Message;

        Assert.Contains("not 'vlm'", message, StringComparison.Ordinal);
        Assert.All(ServingPolicy.Names, name => Assert.Contains(name, message, StringComparison.Ordinal));
        Assert.All(
            ["kernelforge", "kernelforge-online", "vllm", "sglang", "static", "fcfs-lru", "fcfs-sorted", "reserve-all", "aggressive", "past-future"],
            name => Assert.Equal(name, ServingPolicy.Named(name).Name));
    }

    [Theory, MemberData(nameof(Names))]
    public void Apply_AnyPolicy_KeepsMachineAndModel(string name)
    {
        List<Request> requests = Workload.Requests(samples: 2, temperature: 1);
        ServingPolicy policy = ServingPolicy.Named(name);
        foreach (SchedulerOptions options in (SchedulerOptions[])[policy.Apply(Bare), policy.Apply(Bare, requests), policy.Apply(Bare, requests, new Line())])
        {
            Assert.Equal((40, 4, 96, 1), (options.BlockCount, options.BlockSize, options.ContextLength, options.MaxTokensPerStep));
            Assert.Same(Bare.EndTokenIds, options.EndTokenIds);
            Assert.InRange(options.MaxSequences, 1, 2048);
            Assert.InRange(options.TokenBudget, Bare.TokenBudget, int.MaxValue);
        }
        Assert.InRange(policy.Description.Length, 20, 500);
    }

    /// <summary>Scarce blocks, requests that keep coming, and cancellations at random: the others get their tokens, the cancelled ones the first of theirs.</summary>
    [Theory, MemberData(nameof(Names))]
    public void Tokens_CancelledAndPreemptedAtRandom_EqualTheDefinition(string name)
    {
        var random = new Random(31);
        for (int round = 0; round < 8; round++)
        {
            List<Request> requests = [.. Workload.Requests(samples: 1 + round % 2, temperature: round % 2), .. Workload.Requests(samples: 1, temperature: 1)];
            var run = new SchedulerRun(ServingPolicy.Named(name).Apply(Bare with { BlockCount = 26 + 2 * round }, requests, round % 3 == 0 ? new Line() : null));
            var cancelled = new HashSet<Sequence>();
            foreach (Request request in requests)
            {
                run.Add(request);
                for (int i = random.Next(3); i > 0; i--) Step();
            }
            for (int steps = 0; run.Scheduler.HasWork; steps++)
            {
                Assert.True(steps < 20_000, "The scheduler does not come to an end.");
                Step();
            }
            run.Finish();

            foreach (Sequence sequence in run.All)
            {
                List<int> expected = HashRunner.Expected(sequence.Request, sequence.SampleIndex, Bare.ContextLength);
                Assert.Equal(cancelled.Contains(sequence) ? expected[..sequence.OutputLength] : expected, sequence.OutputTokens.ToArray());
            }

            void Step()
            {
                run.Step();
                run.Scheduler.Now += TimeSpan.FromMilliseconds(1);
                Sequence chosen = run.All[random.Next(run.All.Count)];
                if (random.Next(12) > 0 || chosen.Status == SequenceStatus.Finished) return;
                run.Scheduler.Cancel(chosen);
                cancelled.Add(chosen);
            }
        }
    }

    [Fact]
    public void Vllm_SharedPrefixInOneStep_IsComputedTwice()
    {
        Assert.Equal(0, ComputedTwice("kernelforge"));
        Assert.Equal(0, ComputedTwice("sglang"));
        Assert.Equal(0, ComputedTwice("vllm-v1"));
        Assert.True(ComputedTwice("vllm") > 0);
        Assert.True(ComputedTwice("fcfs-lru") > 0);
    }

    [Fact]
    public void Sorted_SharersFarApart_SavesWhatEvictionCosts()
    {
        Assert.True(Computed("fcfs-sorted") < Computed("vllm"), "Sorting must save prompt tokens.");
        Assert.True(Computed("kernelforge") <= Computed("fcfs-sorted"), "The plan must save as many.");

        static long Computed(string name)
        {
            // Ten prefixes in turn, room for about four of them.
            Request[] requests = [.. Enumerable.Range(0, 60).Select(i => new Request([.. Enumerable.Repeat(i % 10, 40), i], new SamplingOptions { MaxTokens = 3 }))];
            SchedulerOptions options = ServingPolicy.Named(name).Apply(Bare with { BlockCount = 44, TokenBudget = 48 }, requests);
            var run = new SchedulerRun(options with { MaxSequences = 3 });
            foreach (Request request in requests) run.Add(request);
            run.Finish();
            return run.Scheduler.Counters.PromptTokensComputed;
        }
    }

    [Fact]
    public void Sorted_Samples_KeepTheirRequestsPlace()
    {
        Request[] requests = [new([3, 1], new SamplingOptions { N = 2, Temperature = 1 }), new([1, 5]), new([1]), new([3])];
        var order = new SortedPromptOrder(requests);

        long[] keys = [.. Enumerable.Range(0, 6).Select(i => order.KeyOf(new QueueEntry(i, 1, 1)))];

        Assert.Equal([3, 3, 1, 0, 2, 5], keys);
    }

    [Fact]
    public void Knee_StepWithFixedCost_IsWhereThatHardlyCounts()
    {
        Assert.Equal(256, TokenKnee.Of(new Line(0)));
        Assert.InRange(TokenKnee.Of(new Line(20e-6 * 20)), 1024, 2048); // 99 % of the rate at 8192 tokens: 20 / (0.01 + 20 / 8192) = 1608
        Assert.Equal(8192, TokenKnee.Of(new Line(1)));
    }

    [Theory, InlineData(128, true), InlineData(0, false)]
    public void LongestPrefix_CachedOne_GoesFirstWhileFewWait(int mostWaiting, bool cachedFirst)
    {
        var run = new SchedulerRun(Bare with { MaxSequences = 1, Order = new LongestPrefixOrder(mostWaiting) });
        run.Add(new Request([1, 2, 3, 4, 5], new SamplingOptions { MaxTokens = 3, IgnoreEndToken = true })); // its block is cached when it is computed
        Sequence other = run.Add(new Request([6, 6, 6, 6, 6])).Single(), sharer = run.Add(new Request([1, 2, 3, 4, 9])).Single();

        while (other.Status == SequenceStatus.Waiting && sharer.Status == SequenceStatus.Waiting) run.Step();

        Assert.Equal(cachedFirst, other.Status == SequenceStatus.Waiting);
        run.Finish();
    }

    private static long ComputedTwice(string name)
    {
        Request[] requests = [.. Enumerable.Range(0, 3).Select(i => new Request([.. Enumerable.Repeat(9, 6), i], new SamplingOptions { MaxTokens = 2 }))];
        var run = new SchedulerRun(ServingPolicy.Named(name).Apply(Bare, requests));
        foreach (Request request in requests) run.Add(request);
        run.Finish();
        return run.Scheduler.Counters.PromptTokensComputed - (7 + 2 * 3);
    }

    /// <summary>A step's time as a line of its tokens.</summary>
    private sealed class Line(double step = 1e-3) : IStepTimeModel
    {
        public double SecondsOf(in StepLoad load) => step + 20e-6 * (load.Decodes + load.PromptTokens);
    }
}
