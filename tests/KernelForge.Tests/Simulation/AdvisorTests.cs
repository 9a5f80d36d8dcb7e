namespace KernelForge.Tests;

public class AdvisorTests
{
    private static readonly CostModel Opt = new(DeviceProfile.Named("h100"), ModelShape.Named("opt-1.3b"));

    [Fact]
    public void BatchSize_RandomTimes_IsTheSmallestThatMeetsBoth()
    {
        var random = new Random(1);
        for (int trial = 0; trial < 300; trial++)
        {
            double[] seconds = [.. Enumerable.Range(0, 41).Select(batch => 1 + batch * random.NextDouble())];
            var time = new Table(load => seconds[load.Decodes]);
            var options = new BatchSizeOptions { Efficiency = 0.3 + 0.7 * random.NextDouble(), TimeBetweenTokens = trial % 3 == 0 ? null : TimeSpan.FromSeconds(1 + 20 * random.NextDouble()), MaxBatch = 40 };

            BatchSizeAdvice advice = BatchSizeAdvisor.Advise(time, [10], 1, 1 << 20, options);

            double plateau = Enumerable.Range(1, 40).Max(batch => batch / seconds[batch]), limit = options.TimeBetweenTokens?.TotalSeconds ?? double.PositiveInfinity;
            int[] shortOnes = [.. Enumerable.Range(1, 40).Where(batch => seconds[batch] <= limit)], good = [.. shortOnes.Where(batch => batch / seconds[batch] >= options.Efficiency * plateau)];
            int expected = good.Length > 0 ? good[0] : shortOnes.Length > 0 ? shortOnes.MaxBy(batch => batch / seconds[batch]) : 1;
            Assert.Equal((expected, good.Length > 0, shortOnes.Length > 0), (advice.Batch, advice.MeetsEfficiency && advice.MeetsLatency, advice.MeetsLatency));
            Assert.Equal(plateau, advice.PlateauTokensPerSecond);
        }
    }

    [Fact]
    public void BatchSize_Memory_IsMeanAndSpreadOfTheContexts()
    {
        var time = new Table(load => 1);

        BatchSizeAdvice advice = BatchSizeAdvisor.Advise(time, [100, 300], kvBytesPerToken: 10, kvBytes: 100_000, new BatchSizeOptions { Efficiency = 0.1, Deviations = 2 });

        int Tokens(int batch) => (int)Math.Ceiling(Math.Min(200 * batch + 200 * Math.Sqrt(batch), 300 * batch)) + batch;
        Assert.Equal(Enumerable.Range(1, 100).Last(batch => Tokens(batch) <= 10_000), advice.LargestBatch);
        Assert.Equal((10L * Tokens(advice.Batch), 100_000L), (advice.KvBytes, advice.KvBytes + advice.FreeBytes));
    }

    [Fact]
    public void BatchSize_SmallModelOnH100_NeedsAFractionOfTheMemory()
    {
        BatchSizeAdvice advice = BatchSizeAdvisor.Advise(Opt, [161 + 169], Opt.Model.KvBytesPerToken, 50_000_000_000, new BatchSizeOptions { Efficiency = 0.83 });

        Assert.InRange(advice.KvBytes / 50e9, 0.05, 0.35); // Mind the Memory Gap: 83 % of the throughput with 16 % of the memory
        Assert.True(advice.MeetsEfficiency && advice.LargestBatch > 2 * advice.Batch);
    }

    [Theory]
    [InlineData(0, 1000)]
    [InlineData(20_000, 10)]
    public void BatchSize_NoRoom_IsRefused(int context, long bytes)
    {
        Assert.Throws<ArgumentException>(() => BatchSizeAdvisor.Advise(Opt, [context], 1000, context == 0 ? 999 : bytes));
        Assert.Throws<ArgumentException>(() => BatchSizeAdvisor.Advise(Opt, [], 1000, bytes));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void MaxTokens_RandomLengths_IsTheBestOfAllLimits(int batch)
    {
        var random = new Random(batch);
        for (int trial = 0; trial < 40; trial++)
        {
            int[] lengths = [.. Enumerable.Range(0, 5).Select(_ => random.Next(10) == 0 ? random.Next(40, 60) : random.Next(1, 15))];
            var options = new MaxTokensOptions
            {
                ArrivalsPerSecond = 0.05 + random.NextDouble() * 0.3,
                Service = new ServiceTime(random.NextDouble(), random.NextDouble(), 0.1 * random.NextDouble(), random.NextDouble()),
                BatchSize = batch,
                PenaltySeconds = 100 * random.NextDouble(),
                MinTokens = random.Next(1, 4),
            };

            MaxTokensAdvice advice = MaxTokensAdvisor.Advise(lengths, options);

            double[] costs = [.. Enumerable.Range(options.MinTokens, 60).Select(limit => Cost(lengths, limit, options))];
            Assert.Equal(costs.Min(), advice.CostSeconds, 1e-6 * Math.Min(1e12, costs.Min()));
            Assert.Equal(Cost(lengths, advice.MaxTokens, options), advice.CostSeconds, 1e-6 * Math.Min(1e12, costs.Min()));
            Assert.Equal(double.IsFinite(costs.Min()), advice.IsStable);
        }
    }

    [Fact]
    public void MaxTokens_OneRequestAtATime_IsTheFormulaOfPollaczekAndKhinchine()
    {
        int[] lengths = [10, 20, 30, 400];
        var options = new MaxTokensOptions { ArrivalsPerSecond = 0.02, Service = new ServiceTime(2, 1, 0.05, 0.05), PenaltySeconds = 10 };

        MaxTokensAdvice advice = MaxTokensAdvisor.CostOf(lengths, 100, options);

        double[] services = [4, 5, 6, 13]; // 0.1 n + 3, the last one cut at 100
        double first = services.Average(), second = services.Average(service => service * service);
        Assert.Equal(0.02 * second / (2 * (1 - 0.02 * first)), advice.WaitSeconds, 1e-9);
        Assert.Equal((0.25, 0.02 * first), (advice.ClippedShare, advice.Utilisation));
    }

    [Fact]
    public void MaxTokens_QueueThatGrows_IsClippedUntilItDoesNot()
    {
        int[] lengths = [.. Enumerable.Repeat(10, 99), 100_000];
        var options = new MaxTokensOptions { ArrivalsPerSecond = 0.5, Service = new ServiceTime(0, 0, 0, 0.1) };

        Assert.Equal(double.PositiveInfinity, MaxTokensAdvisor.CostOf(lengths, 100_000, options).WaitSeconds);
        Assert.Equal((10, true), (MaxTokensAdvisor.Advise(lengths, options).MaxTokens, MaxTokensAdvisor.Advise(lengths, options).IsStable));
        MaxTokensAdvice hopeless = MaxTokensAdvisor.Advise(lengths, options with { ArrivalsPerSecond = 1000 });
        Assert.Equal((1, false), (hopeless.MaxTokens, hopeless.IsStable));
    }

    [Fact]
    public void TokenBudget_RandomTimes_IsTheLargestMultipleThatMeetsTheTarget()
    {
        var random = new Random(2);
        for (int trial = 0; trial < 200; trial++)
        {
            int tile = 1 << random.Next(4, 8), decodes = random.Next(200);
            double perToken = 1e-4 * random.NextDouble(), perContext = 1e-7 * random.NextDouble();
            var time = new Table(load => 0.01 + perToken * (load.Decodes + load.PromptTokens) + perContext * (load.DecodeContext + load.PromptContext));
            var options = new TokenBudgetOptions { Decodes = decodes, Tile = tile, MaxTokens = 4096, TimeBetweenTokens = TimeSpan.FromSeconds(0.02 + 0.5 * random.NextDouble()) };

            TokenBudgetAdvice advice = TokenBudgetAdvisor.Advise(time, options);

            int[] multiples = [.. Enumerable.Range(1, 4096 / tile).Select(i => i * tile).Where(tokens => tokens > decodes)];
            double Seconds(int tokens)
            {
                long context = 0; // token by token: each attends to what is before it and to itself
                for (int i = 0; i < tokens - decodes; i++) context += options.PromptContext + i + 1;
                return time.SecondsOf(new StepLoad(decodes, (long)decodes * options.DecodeContext, tokens - decodes, context));
            }
            int[] meeting = [.. multiples.Where(tokens => Seconds(tokens) <= options.TimeBetweenTokens.Value.TotalSeconds)];
            Assert.Equal((meeting.Length > 0 ? meeting[^1] : multiples[0], meeting.Length > 0), (advice.Tokens, advice.MeetsTarget));
            Assert.Equal(Seconds(advice.Tokens), advice.StepSeconds, 1e-12);

            TokenBudgetAdvice offline = TokenBudgetAdvisor.Advise(time, options with { TimeBetweenTokens = null });
            double most = multiples.Max(tokens => tokens / Seconds(tokens));
            Assert.Equal(multiples.First(tokens => tokens / Seconds(tokens) >= 0.95 * most), offline.Tokens);
        }
    }

    [Fact]
    public void Options_OutOfRange_AreNamed()
    {
        var queue = new MaxTokensOptions { ArrivalsPerSecond = 1, Service = new ServiceTime(1, 0, 0, 0) };

        Assert.Contains("BatchSizeOptions.Efficiency must be above 0 and at most 1, not 0.", Said(() => BatchSizeAdvisor.Advise(Opt, [1], 1, 100, new BatchSizeOptions { Efficiency = 0 })), StringComparison.Ordinal);
        Assert.Contains("BatchSizeOptions.TimeBetweenTokens must be above 0 s, not -1 s.", Said(() => BatchSizeAdvisor.Advise(Opt, [1], 1, 100, new BatchSizeOptions { TimeBetweenTokens = TimeSpan.FromSeconds(-1) })), StringComparison.Ordinal);
        Assert.Contains("MaxTokensOptions.ArrivalsPerSecond must be above 0, not 0.", Said(() => MaxTokensAdvisor.Advise([1], queue with { ArrivalsPerSecond = 0 })), StringComparison.Ordinal);
        Assert.Contains("MaxTokensOptions.Service must have times of 0 or more", Said(() => MaxTokensAdvisor.Advise([1], queue with { Service = default })), StringComparison.Ordinal);
        Assert.Contains("A limit needs the length of an answer or more, got none.", Said(() => MaxTokensAdvisor.Advise([], queue)), StringComparison.Ordinal);
        Assert.Contains("Answers must have 1 token or more, not 0.", Said(() => MaxTokensAdvisor.Advise([3, 0], queue)), StringComparison.Ordinal);
        Assert.Contains("TokenBudgetOptions.MaxTokens must be 256 or more", Said(() => TokenBudgetAdvisor.Advise(Opt, new TokenBudgetOptions { Decodes = 128, MaxTokens = 255 })), StringComparison.Ordinal);
    }

    private static string Said(Action action) => Assert.Throws<ArgumentException>(action).Message;

    /// <summary>All batches of lengths one by one, each as likely; Kingman's formula, infinite where the queue grows.</summary>
    private static double Cost(int[] lengths, int limit, MaxTokensOptions options)
    {
        int batch = options.BatchSize;
        List<double> services = [];
        for (int code = 0; code < Math.Pow(lengths.Length, batch); code++)
        {
            int longest = 0;
            for (int i = 0, rest = code; i < batch; i++, rest /= lengths.Length) longest = Math.Max(longest, Math.Min(limit, lengths[rest % lengths.Length]));
            ServiceTime service = options.Service;
            services.Add(service.PerRequest * batch + service.PerBatch + (service.PerToken * batch + service.PerStep) * longest);
        }
        double mean = services.Average(), variation = services.Average(service => service * service) / (mean * mean) - 1, load = options.ArrivalsPerSecond * mean / batch;
        if (load >= 1) return double.PositiveInfinity;
        double wait = (batch - 1) / (2 * options.ArrivalsPerSecond) + (1.0 / batch + variation) / 2 * load / (1 - load) * mean;
        return wait + options.PenaltySeconds * lengths.Count(length => length > limit) / lengths.Length;
    }

    private sealed class Table(Func<StepLoad, double> seconds) : IStepTimeModel
    {
        public double SecondsOf(in StepLoad load) => seconds(load);
    }
}
