namespace KernelForge.Tests;

/// <summary>Penalties, biases, forbidden tokens and log-probabilities on a real model, whose logits are the same bits in every run.</summary>
public sealed class TokenSamplerTests : IDisposable
{
    private static readonly int[] Prompt = [5, 9, 9, 13];

    private readonly TinyModel _tiny = TinyModel.Create("llama");

    public void Dispose() => _tiny.Dispose();

    [Fact]
    public void RepetitionPenalty_DividesPositiveAndMultipliesNegativeLogitsOfSeenTokens()
    {
        float[] plain = LogitsAfter(Prompt, new SamplingOptions()), penalised = LogitsAfter(Prompt, new SamplingOptions { RepetitionPenalty = 1.5f });

        for (int token = 0; token < plain.Length; token++)
            Assert.Equal(Prompt.Contains(token) ? plain[token] > 0 ? plain[token] / 1.5f : plain[token] * 1.5f : plain[token], penalised[token]);
        Assert.Contains(Prompt, token => plain[token] > 0);
        Assert.Contains(Prompt, token => plain[token] < 0);
    }

    [Fact]
    public void PresenceAndFrequencyPenalties_CountGeneratedTokensOnly()
    {
        // Token 9 is forced twice; the prompt's own two do not count.
        var options = new SamplingOptions { MaxTokens = 3, IgnoreEndToken = true, PresencePenalty = 0.5f, FrequencyPenalty = 0.25f, LogitBias = new Dictionary<int, float> { [9] = 1000 } };
        float[] plain = LogitsAfter([.. Prompt, 9, 9], new SamplingOptions()), penalised = LogitsAt(Prompt, options, Prompt.Length + 2);

        for (int token = 0; token < plain.Length; token++)
            Assert.Equal(token == 9 ? plain[token] + (1000 - (0.5f + 0.25f * 2)) : plain[token], penalised[token]);
    }

    [Fact]
    public void MinTokens_ForbidsEndAndStopTokensBefore()
    {
        var wantsToEnd = new SamplingOptions { MaxTokens = 10, StopTokenIds = [40], LogitBias = new Dictionary<int, float> { [1] = 1000, [40] = 999 } };

        Assert.Equal(1, Generate(wantsToEnd).OutputLength);
        Sequence later = Generate(wantsToEnd with { MinTokens = 3 });

        Assert.Equal((4, FinishReason.Stop), (later.OutputLength, later.FinishReason));
        Assert.DoesNotContain(later.OutputTokens[..3].ToArray(), token => token is 1 or 40);
    }

    [Fact]
    public void IgnoreEndToken_LetsTheEndTokenBeChosenAndGoesOn()
    {
        Sequence sequence = Generate(new SamplingOptions { MaxTokens = 3, IgnoreEndToken = true, MinTokens = 3, LogitBias = new Dictionary<int, float> { [1] = 1000 } });

        Assert.Equal([1, 1, 1], sequence.OutputTokens.ToArray());
        Assert.Equal(FinishReason.Length, sequence.FinishReason);
    }

    [Fact]
    public void LogitBias_NegativeInfinity_NeverChosen()
    {
        int[] favourites = [.. Generate(new SamplingOptions { MaxTokens = 8 }).OutputTokens];
        var options = new SamplingOptions { MaxTokens = 8, LogitBias = favourites.Distinct().ToDictionary(token => token, _ => float.NegativeInfinity) };

        Assert.Empty(Generate(options).OutputTokens.ToArray().Intersect(favourites));
    }

    [Fact]
    public void LogitBias_MoreThanOneUploadHolds_ReachesEveryRow()
    {
        // 200 rows of 96 forbidden tokens are more than the 16,384 adjustments of an upload.
        using var run = new ModelRun(_tiny, new SchedulerOptions { BlockCount = 256, ContextLength = 64, TokenBudget = 1024 });
        int[] wanted = [.. Enumerable.Range(0, 200).Select(i => i % 97)];
        Request[] requests = [.. wanted.Select(token => new Request(Prompt, new SamplingOptions
        {
            MaxTokens = 1,
            IgnoreEndToken = true,
            LogitBias = Enumerable.Range(0, 97).Where(other => other != token).ToDictionary(other => other, _ => float.NegativeInfinity),
        }))];

        Assert.Equal(wanted, run.Run(requests).Select(sequence => sequence.OutputTokens[0]));
        Assert.Equal(1, run.Scheduler.Counters.Steps);
    }

    [Fact]
    public void LogProbs_AreThoseOfTheLogitsBeforeAnyChange()
    {
        float[] plain = LogitsAfter(Prompt, new SamplingOptions());
        double lse = Math.Log(plain.Sum(logit => Math.Exp(logit)));
        var options = new SamplingOptions { MaxTokens = 1, LogProbs = 3, RepetitionPenalty = 2, LogitBias = new Dictionary<int, float> { [77] = 1000 } };

        TokenLogProbs reported = Generate(options).OutputLogProbs![0];

        Assert.Equal(77, reported.Chosen.TokenId);
        Assert.Equal(plain[77] - lse, reported.Chosen.LogProb, 1e-5);
        int[] best = [.. Enumerable.Range(0, plain.Length).OrderByDescending(token => plain[token]).Take(3)];
        Assert.Equal(best, reported.Top.Select(entry => entry.TokenId));
        foreach (TokenLogProb entry in reported.Top) Assert.Equal(plain[entry.TokenId] - lse, entry.LogProb, 1e-5);
    }

    [Fact]
    public void LogProbs_BesideRowsThatWantOthersOrNone_ReportEachItsOwn()
    {
        int?[] wanted = [null, 0, 5, 2];
        using ModelRun run = Run(), alone = Run();
        Request[] requests = [.. wanted.Select((top, i) => new Request([.. Prompt, 20 + i], new SamplingOptions { MaxTokens = 2, LogProbs = top, IgnoreEndToken = true }))];

        IReadOnlyList<Sequence> together = run.Run(requests);

        foreach ((Sequence sequence, Request request) in together.Zip(requests))
        {
            IReadOnlyList<TokenLogProbs>? expected = alone.Run([request])[0].OutputLogProbs;
            Assert.Equal(request.Sampling.LogProbs is null, sequence.OutputLogProbs is null);
            Assert.Equal(expected?.Select(entry => entry.Chosen), sequence.OutputLogProbs?.Select(entry => entry.Chosen));
            Assert.Equal(expected?.SelectMany(entry => entry.Top), sequence.OutputLogProbs?.SelectMany(entry => entry.Top));
            Assert.All(sequence.OutputLogProbs ?? [], entry => Assert.Equal(request.Sampling.LogProbs, entry.Top.Count));
        }
    }

    private ModelRun Run() => new(_tiny, new SchedulerOptions { BlockCount = 16, ContextLength = 64, EndTokenIds = [1] });

    private Sequence Generate(SamplingOptions options)
    {
        using ModelRun run = Run();
        return run.Run([new Request(Prompt, options)])[0];
    }

    private float[] LogitsAfter(int[] prompt, SamplingOptions options) => LogitsAt(prompt, options with { MaxTokens = 1 }, prompt.Length);

    private float[] LogitsAt(int[] prompt, SamplingOptions options, int position)
    {
        using ModelRun run = Run();
        var request = new Request(prompt, options);
        run.Run([request]);
        return run.Logits[(request, 0, position)];
    }
}
