using KernelForge.Inference;

namespace KernelForge.Tests;

public class PastFutureAdmissionTests
{
    private static readonly SchedulerOptions Ample = new()
    {
        BlockCount = 64, BlockSize = 4, ContextLength = 160, TokenBudget = 64, EndTokenIds = [HashRunner.EndToken],
    };

    private static readonly PastFutureAdmission Exact = new(new PastFutureOptions { Reserve = 0 });

    public static TheoryData<int, bool, int, int> Workloads => Cases.Of([1, 2, 3, 4], [true, false], [1, 4], [1, 3]);

    [Fact]
    public void TryAdmit_CapacityBoundary_DecidesAtTheExactBlock()
    {
        // Blocks of 4 slots. Two of 8 tokens that gain 5 and 9: at the end of the short one 12 + 12 slots, at that of the long one 16.
        KvDemand running = new(2, 0, 0) { Length = 8, MaxLength = 99, TokensLeft = 5, StepsLeft = 4 }, candidate = running with { TokensLeft = 9, StepsLeft = 8 };
        foreach ((int capacity, bool admitted) in ((int, bool)[])[(6, true), (5, false)])
        {
            IAdmission admission = Exact.For(Ample);
            admission.Begin([running], capacity);
            Assert.Equal(admitted, admission.TryAdmit(candidate));
        }

        IAdmission withReserve = new PastFutureAdmission(new PastFutureOptions { Reserve = 0.2 }).For(Ample);
        foreach ((int capacity, bool admitted) in ((int, bool)[])[(8, true), (7, false)])
        {
            withReserve.Begin([running], capacity);
            Assert.Equal(admitted, withReserve.TryAdmit(candidate));
        }
    }

    [Theory, MemberData(nameof(Workloads))]
    public void Oracle_RandomWorkload_NeverPreemptsAndFillsMoreThanReserveAll(int seed, bool prefixCache, int tokensPerStep, int samples)
    {
        SchedulerOptions options = Ample with { PrefixCache = prefixCache, MaxTokensPerStep = tokensPerStep, TokenBudget = seed % 2 == 0 ? 23 : 64 };
        (double ours, long steps) = Run(options with { Admission = Exact }, seed, samples, oracle: true);
        (double reserved, long reservedSteps) = Run(options with { Admission = new ReserveAllAdmission() }, seed, samples, oracle: true);

        Assert.True(ours >= reserved, $"{ours:P1} of the blocks were in use, {reserved:P1} with reserve-all.");
        Assert.True(steps <= reservedSteps, $"{steps} steps, {reservedSteps} with reserve-all.");
    }

    [Theory, InlineData(true), InlineData(false)]
    public void Oracle_OtherOrdersAndSelectors_NeverPreempts(bool prefixCache)
    {
        SchedulerOptions options = Ample with { PrefixCache = prefixCache, Admission = Exact };
        Run(options with { Decodes = new EqualLengthDecodes(2, 4) }, seed: 5, samples: 1, oracle: true);
        Run(options with { Order = new LongestFirst(), TokenBudget = 31 }, seed: 6, samples: 1, oracle: true);
        Run(options with { MaxSequences = 3, TokenBudget = 2 }, seed: 7, samples: 2, oracle: true);
    }

    [Fact]
    public void History_LengthsKnownFromThePast_RunsMoreThanReserveAll()
    {
        (double ours, _) = Run(Ample with { Admission = new PastFutureAdmission() }, seed: 1, samples: 1, oracle: false, requests: 400);
        (double reserved, _) = Run(Ample with { Admission = new ReserveAllAdmission() }, seed: 1, samples: 1, oracle: false, requests: 400);

        Assert.True(ours > 1.2 * reserved, $"{ours:P1} of the blocks were in use, {reserved:P1} with reserve-all.");
    }

    [Fact]
    public void Options_OutOfRange_Throw()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => new PastFutureAdmission(new PastFutureOptions { Reserve = 1 }));
        Assert.Throws<ArgumentOutOfRangeException>(() => new PastFutureAdmission(new PastFutureOptions { Window = 0 }));
        Assert.Throws<ArgumentOutOfRangeException>(() => new PastFutureAdmission(new PastFutureOptions { FirstUnknown = -1 }));
        Assert.Throws<ArgumentOutOfRangeException>(() => new AggressiveAdmission(0));
    }

    /// <summary>Runs all requests, a few of them coming later, and returns the mean share of blocks in use while any waited, and the steps.</summary>
    private static (double Use, long Steps) Run(SchedulerOptions options, int seed, int samples, bool oracle, int requests = 60)
    {
        var random = new Random(seed);
        var run = new SchedulerRun(options, DraftOutcome.Random);
        double use = 0, steps = 0;
        for (int i = 0; i < requests; i++)
        {
            run.Add(RandomRequest(random, samples, oracle, options.ContextLength));
            while (i > 20 && run.Scheduler.Counters.Waiting > 8) Step();
        }
        while (run.Scheduler.HasWork) Step();
        run.Finish();

        if (oracle) Assert.Equal(0, run.Scheduler.Counters.Preemptions);
        return (use / steps / options.BlockCount, run.Scheduler.Counters.Steps);

        void Step()
        {
            run.Step();
            if (run.Scheduler.Counters.Waiting == 0) return;
            use += run.Scheduler.Counters.BlocksInUse;
            steps++;
        }
    }

    private static Request RandomRequest(Random random, int samples, bool oracle, int contextLength)
    {
        int[] tokens = [.. Enumerable.Range(0, 8 * random.Next(4)), .. Enumerable.Repeat(random.Next(4), random.Next(1, 20)), random.Next(1000)];
        var sampling = new SamplingOptions { MaxTokens = random.Next(40, 120), N = random.Next(3) == 0 ? samples : 1, IgnoreEndToken = random.Next(6) == 0 };
        int length = HashRunner.Expected(new Request(tokens, sampling), 0, contextLength).Count;
        return new Request(tokens, sampling) { ExpectedTokens = oracle ? length : null };
    }

    private sealed class LongestFirst : IQueueOrder
    {
        public long KeyOf(in QueueEntry entry) => -entry.PromptLength;
    }
}
