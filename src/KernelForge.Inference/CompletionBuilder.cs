using System.Text;

namespace KernelForge.Inference;

/// <summary>Joins the events of a request's samples into completions.</summary>
internal sealed class CompletionBuilder(Request request)
{
    private readonly Sample[] _samples = [.. Enumerable.Range(0, request.Sampling.N).Select(_ => new Sample())];
    private int _open = request.Sampling.N;

    public bool IsComplete => _open == 0;

    public void Add(TokenEvent gained)
    {
        Sample sample = _samples[gained.SampleIndex];
        sample.Text.Append(gained.Text);
        sample.TokenIds.AddRange(gained.TokenIds);
        if (gained.LogProbs is not null) (sample.LogProbs ??= []).AddRange(gained.LogProbs);
        if (gained.FinishReason is null) return;

        sample.Last = gained;
        _open--;
    }

    /// <summary>One completion per sample, in order; all of them have ended.</summary>
    public IEnumerable<Completion> Build() => _samples.Select((sample, index) => new Completion
    {
        Request = request,
        SampleIndex = index,
        Text = sample.Text.ToString(),
        TokenIds = sample.TokenIds,
        LogProbs = sample.LogProbs,
        FinishReason = sample.Last!.FinishReason!.Value,
        CachedTokens = sample.Last.CachedTokens,
    });

    private sealed class Sample
    {
        public StringBuilder Text { get; } = new();

        public List<int> TokenIds { get; } = [];

        public List<TokenLogProbs>? LogProbs { get; set; }

        public TokenEvent? Last { get; set; }
    }
}
