namespace KernelForge.Tests;

/// <summary>Rejection sampling through the whole pipeline: answers of many seeds follow the distribution of the target model, whatever is drafted.</summary>
public sealed class RejectionSamplingTests : IDisposable
{
    private const int Answers = 4000, Kept = 4; // tokens that top-k keeps: few enough to count answers of four

    private static readonly int[] Prompt = [5, 9, 13, 5, 9, 13, 5, 9];
    // Biases make both models and the n-grams choose among the same tokens, so that drafts are accepted and rejected.
    private static readonly SamplingOptions Sampling = new()
    {
        Temperature = 4, TopK = Kept, MaxTokens = 4, IgnoreEndToken = true, LogitBias = new Dictionary<int, float> { [5] = 50, [9] = 50, [13] = 50, [7] = 50 },
    };

    private readonly TinyModel _target = TinyModel.Create("llama"), _draft = TinyModel.Create("qwen2");

    public void Dispose()
    {
        _target.Dispose();
        _draft.Dispose();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Answers_OfManySeeds_FollowTheTarget(bool withModel)
    {
        var speculation = new SpeculationOptions { DraftModel = withModel ? _draft.Folder : null, DraftLength = 2, RejectionSampling = true };
        (List<int[]> answers, var logits) = Run(speculation, out SpeculationCounters counters);

        (double[] probabilities, int[] cells) = Cells(answers, logits);
        ChiSquare.AssertFollows(probabilities, cells);
        Assert.InRange(counters.Accepted, counters.Drafted / 50, counters.Drafted * 49 / 50);
    }

    private (List<int[]> Answers, Dictionary<string, float[]> Logits) Run(SpeculationOptions speculation, out SpeculationCounters counters)
    {
        var options = new SchedulerOptions { BlockCount = 400, BlockSize = 4, ContextLength = 64, TokenBudget = 256, MaxSequences = 64 };
        using var run = new ModelRun(_target, options, speculation: speculation);
        List<Request> requests = [.. Enumerable.Range(0, Answers).Select(seed => new Request(Prompt, Sampling with { Seed = (ulong)seed }))];
        List<int[]> answers = [.. run.Run(requests).Select(sequence => sequence.OutputTokens.ToArray())];
        var logits = new Dictionary<string, float[]>(); // by the tokens of the answer before
        for (int i = 0; i < requests.Count; i++)
            for (int t = 0; t < Sampling.MaxTokens; t++)
                logits[string.Join(' ', answers[i][..t])] = run.Logits[(requests[i], 0, Prompt.Length + t)];
        counters = run.Speculation!;
        return (answers, logits);
    }

    /// <summary>A cell for every answer; one for those behind beginnings that no answer has.</summary>
    private static (double[] Probabilities, int[] Cells) Cells(List<int[]> answers, Dictionary<string, float[]> logits)
    {
        var numbers = new Dictionary<string, int>();
        List<double> probabilities = [];
        Extend([], 1);
        probabilities.Add(1 - probabilities.Sum());
        return ([.. probabilities], [.. answers.Select(answer => numbers.GetValueOrDefault(string.Join(' ', answer), probabilities.Count - 1))]);

        void Extend(int[] beginning, double probability)
        {
            string key = string.Join(' ', beginning);
            if (beginning.Length == Sampling.MaxTokens)
            {
                numbers.Add(key, probabilities.Count);
                probabilities.Add(probability);
                return;
            }
            if (!logits.TryGetValue(key, out float[]? row)) return;
            int[] kept = [.. Enumerable.Range(0, row.Length).OrderByDescending(token => row[token]).Take(Kept)];
            double sum = kept.Sum(token => Math.Exp((row[token] - row[kept[0]]) / Sampling.Temperature));
            foreach (int token in kept) Extend([.. beginning, token], probability * Math.Exp((row[token] - row[kept[0]]) / Sampling.Temperature) / sum);
        }
    }
}
