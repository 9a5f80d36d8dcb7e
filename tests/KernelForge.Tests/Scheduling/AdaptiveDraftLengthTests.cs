using KernelForge.Inference;

namespace KernelForge.Tests;

public class AdaptiveDraftLengthTests
{
    private static readonly StepCost Typical = new(Step: 10e-3, Token: 0.5e-3, DraftPass: 1e-3, DraftToken: 0.05e-3);

    [Fact]
    public void Choose_SmallBatches_IsAsGoodAsTryingAllLengths()
    {
        var random = new Random(7);
        int drafting = 0;
        for (int i = 0; i < 400; i++)
        {
            int count = random.Next(1, 5), max = random.Next(1, 5), budget = random.Next(0, count * max + 3);
            var cost = new StepCost(Pick(10e-3), Pick(5e-3) + 1e-5, Pick(4e-3), Pick(1e-3));
            DraftCandidate[] sequences =
                [.. Enumerable.Range(0, count).Select(_ => new DraftCandidate(Acceptance(), 0, random.Next(0, 6)))];
            var lengths = new int[count];

            new AdaptiveDraftLength(max).Choose(sequences, 0, budget, cost, lengths);

            AssertWithin(sequences, max, budget, lengths);
            double best = Vectors(sequences, max, budget).Max(vector => Rate(sequences, vector, cost)), actual = Rate(sequences, lengths, cost);
            if (lengths.Sum() == 0) best /= 1.02; // what is hardly better is not taken
            Assert.True(actual >= 0.99 * best, $"case {i}: {string.Join(' ', lengths)} gives {actual:g4} tokens/s of {best:g4}");
            drafting += lengths.Sum() > 0 ? 1 : 0;
        }
        Assert.InRange(drafting, 60, 350); // both decisions were made

        double Pick(double most) => random.Next(4) == 0 ? 0 : most * random.NextDouble();
        float Acceptance() => random.Next(6) switch { 0 => 0, 1 => 1, _ => random.NextSingle() };
    }

    [Fact]
    public void Choose_NothingIsEverAccepted_DraftsNothing() => Assert.All(Choose(Typical, [0, 0, 0]), length => Assert.Equal(0, length));

    [Fact]
    public void Choose_EverythingIsAcceptedAndDraftsAreFree_DraftsAsLongAsItCan() =>
        Assert.All(Choose(Typical with { DraftPass = 0, DraftToken = 0 }, [1, 1, 1]), length => Assert.Equal(8, length));

    [Fact]
    public void Choose_DraftModelAsSlowAsTheTarget_DraftsNothing() => Assert.All(
        Choose(Typical with { DraftPass = Typical.Step, DraftToken = Typical.Token }, [0.8f, 0.9f]), length => Assert.Equal(0, length));

    [Fact]
    public void Choose_BatchWhoseTokensAreTheTime_TurnsItselfDown()
    {
        int[] sums = [.. ((int[])[1, 8, 64, 512, 4096]).Select(count =>
            Choose(Typical, Enumerable.Repeat(0.7f, count).ToArray()).Sum() * 100 / count)]; // in hundredths for each sequence

        Assert.True(sums[0] >= 200, string.Join(' ', sums));
        Assert.Equal(sums.OrderDescending(), sums);
        Assert.Equal(0, sums[^1]);
    }

    [Fact]
    public void Choose_SequencesDiffer_SoDoTheirLengths()
    {
        int[] lengths = Choose(Typical, [0.95f, 0.6f, 0.1f, 0.95f]);

        Assert.True(lengths[0] > lengths[1] && lengths[1] > lengths[2], string.Join(' ', lengths));
        Assert.Equal(lengths[0], lengths[3]);
    }

    [Fact]
    public void Choose_AcceptanceRises_LengthsDoNotFall()
    {
        foreach (int count in (int[])[1, 4, 32])
        {
            int before = 0;
            for (float acceptance = 0; acceptance <= 1; acceptance += 0.01f)
            {
                int sum = Choose(Typical, Enumerable.Repeat(acceptance, count).ToArray()).Sum();
                Assert.True(sum >= before, $"{sum} tokens after {before} at {acceptance}, {count} sequences");
                before = sum;
            }
            Assert.True(before > 0);
        }
    }

    [Fact]
    public void Choose_BudgetIsShort_GoesToTheLikeliestTokens() =>
        Assert.Equal([0, 3, 0], Choose(Typical with { DraftPass = 0 }, [0.7f, 0.99f, 0.7f], budget: 3));

    [Fact]
    public void Choose_CostsUnknown_StartsWithAModerateLengthForFew()
    {
        Assert.Equal([4, 0], Choose(default, [0.1f, 0.9f]));
        Assert.Equal([3, 0], Choose(default, [0.1f, 0.9f], budget: 3));
        Assert.Equal([4, 4, 2, 0], Choose(default, new float[40])[..4]);
    }

    // Every number that can be had: lengths stay within their bounds and nothing throws.
    [Fact]
    public void Choose_OddNumbers_StaysWithinBounds()
    {
        float[] acceptances = [0, 1, 1.5f, -1, float.NaN, float.Epsilon, 0.5f];
        double[] costs = [0, double.Epsilon, 1e-3, 1e9];
        DraftCandidate[] sequences =
            [.. acceptances.SelectMany(acceptance => new[] { new DraftCandidate(acceptance, 0, 8), new DraftCandidate(acceptance, int.MaxValue, 2), new DraftCandidate(acceptance, 9, 0) })];
        var lengths = new int[sequences.Length];
        foreach (double step in costs)
            foreach (double token in costs)
                foreach (double pass in costs)
                    foreach (int budget in (int[])[0, 1, 7, int.MaxValue])
                    {
                        new AdaptiveDraftLength(5).Choose(sequences, 3, budget, new StepCost(step, token, pass, pass / 2), lengths);
                        AssertWithin(sequences, 5, budget, lengths);
                    }
        new AdaptiveDraftLength(5).Choose([], 0, 5, Typical, []);
    }

    // Hopeless drafts: plain decoding, but for trials that cost about 1 % of the time and never stop.
    [Theory, InlineData(1), InlineData(8), InlineData(200)]
    public void Choose_SequencesWithoutDrafts_AreTriedForOnePercent(int count)
    {
        const int Steps = 20_000;
        StepCost cost = Typical with { DraftToken = 0.02e-3 };
        var sequences = new DraftCandidate[count];
        Array.Fill(sequences, new DraftCandidate(0.01f, 0, 8));
        var policy = new AdaptiveDraftLength(8);
        var lengths = new int[count];
        double spent = 0;
        var trials = new int[count];
        for (int step = 0; step < Steps; step++)
        {
            policy.Choose(sequences, 0, 1000, cost, lengths);
            for (int i = 0; i < count; i++)
            {
                int since = sequences[i].StepsSinceDraft;
                if (lengths[i] > 0) spent += cost.Token + cost.DraftPass + cost.DraftToken * (1 + since);
                trials[i] += lengths[i];
                sequences[i] = sequences[i] with { StepsSinceDraft = lengths[i] > 0 ? 0 : since + 1, Lag = lengths[i] > 0 ? 0 : since + 1 };
            }
        }

        Assert.InRange(spent / (Steps * (cost.Step + count * cost.Token)), 0.001, 0.0105);
        Assert.InRange(trials.Sum(), Steps / 1024, Steps / 2);
    }

    [Fact]
    public void Choose_TrialsAreDear_ComeWhenTheyAreOnePercentOfTheTime()
    {
        StepCost cost = Typical with { DraftToken = Typical.Step };
        double price = cost.Token + cost.DraftPass + 1025 * cost.DraftToken, step = cost.Step + 2 * cost.Token;
        int steps = (int)Math.Ceiling(100 * price / step);
        Assert.Equal([0, 0], Try(steps - 1));
        Assert.Equal([0, 1], Try(steps)); // of the one that the draft model lacks less of

        int[] Try(int pause)
        {
            var lengths = new int[2];
            new AdaptiveDraftLength(8).Choose([new(0, pause + 9, 8) { Lag = 9000 }, new(0, pause, 8) { Lag = 1024 }], 0, 100, cost, lengths);
            return lengths;
        }
    }

    [Fact]
    public void Choose_PlainStepIsWanted_DraftsNothing()
    {
        var lengths = new int[1];
        new AdaptiveDraftLength(8).Choose([new(1, 0, 8)], 0, 100, Typical, lengths);
        Assert.NotEqual([0], lengths);
        foreach (StepCost cost in (StepCost[])[Typical, default])
        {
            lengths[0] = 0;
            new AdaptiveDraftLength(8).Choose([new(1, 5000, 8)], 0, 100, cost with { WantsPlain = true }, lengths);
            Assert.Equal([0], lengths);
        }
    }

    [Fact]
    public void Choose_CostsUnknown_LeavesStepsWithPromptsAlone()
    {
        var lengths = new int[1];
        new AdaptiveDraftLength(8).Choose([new(1, 0, 8)], otherTokens: 1, 100, default, lengths);
        Assert.Equal([0], lengths);
        new AdaptiveDraftLength(8).Choose([new(1, 0, 8)], otherTokens: 0, 100, default, lengths);
        Assert.Equal([4], lengths);
    }

    [Fact]
    public void Choose_DraftModelLacksMoreThanDraftsSave_LeavesTheSequenceWithout()
    {
        int[] few = ChooseLagging(0, 10, 100), many = ChooseLagging(0, 10, 100_000), all = ChooseLagging(100_000, 100_000, 100_000);

        Assert.DoesNotContain(0, few);
        Assert.True(many[0] > 0 && many[1] > 0 && many[2] == 0, string.Join(' ', many));
        Assert.Equal([0, 0, 0], all);

        static int[] ChooseLagging(params int[] lags)
        {
            var lengths = new int[lags.Length];
            new AdaptiveDraftLength(8).Choose([.. lags.Select(lag => new DraftCandidate(0.8f, 0, 8) { Lag = lag })], 0, 100, Typical, lengths);
            return lengths;
        }
    }

    [Fact]
    public void Choose_ManySequences_AllocatesNothing()
    {
        DraftCandidate[] sequences = [.. Enumerable.Range(0, 1000).Select(i => new DraftCandidate(i / 1000f, i, i % 10))];
        var policy = new AdaptiveDraftLength(16);
        var lengths = new int[1000];
        policy.Choose(sequences, 0, 4000, Typical, lengths);

        long before = GC.GetAllocatedBytesForCurrentThread();
        policy.Choose(sequences, 0, 4000, Typical, lengths);
        policy.Choose(sequences, 0, 4000, default, lengths);

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Theory, InlineData(0), InlineData(17)]
    public void Constructor_LengthOutOfRange_Throws(int length) =>
        Assert.Contains($"1 to 16, not {length}", Assert.Throws<ArgumentException>(() => new AdaptiveDraftLength(length)).Message, StringComparison.Ordinal);

    private static int[] Choose(StepCost cost, float[] acceptances, int budget = int.MaxValue)
    {
        var lengths = new int[acceptances.Length];
        new AdaptiveDraftLength(8).Choose([.. acceptances.Select(acceptance => new DraftCandidate(acceptance, 0, 8))], 0, budget, cost, lengths);
        return lengths;
    }

    private static void AssertWithin(DraftCandidate[] sequences, int max, int budget, int[] lengths)
    {
        for (int i = 0; i < lengths.Length; i++) Assert.InRange(lengths[i], 0, Math.Min(max, sequences[i].MaxLength));
        Assert.InRange(lengths.Sum(length => (long)length), 0, budget);
    }

    private static double Rate(DraftCandidate[] sequences, int[] lengths, StepCost cost)
    {
        double gain = 0;
        for (int i = 0; i < lengths.Length; i++)
            for (int j = 0; j <= lengths[i]; j++) gain += Math.Pow(sequences[i].Acceptance, j);
        int drafted = lengths.Sum();
        return gain / (cost.Step + cost.Token * (lengths.Length + drafted) + cost.DraftPass * lengths.Max() + cost.DraftToken * drafted);
    }

    private static IEnumerable<int[]> Vectors(DraftCandidate[] sequences, int max, int budget)
    {
        IEnumerable<int[]> vectors = [[]];
        foreach (DraftCandidate sequence in sequences)
        {
            int most = Math.Min(max, sequence.MaxLength);
            vectors = vectors.SelectMany(vector => Enumerable.Range(0, most + 1).Select(length => (int[])[.. vector, length])).ToArray();
        }
        return vectors.Where(vector => vector.Sum() <= budget);
    }
}
