using System.Text;
using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary>One continuation of a prompt.</summary>
internal sealed class AnswerChoice
{
    public StringBuilder Text { get; } = new();

    public List<int> TokenIds { get; } = [];

    public List<TokenLogProbs> LogProbs { get; } = [];

    public FinishReason? FinishReason { get; set; }
}

/// <summary>The answer to one line of the input while it grows: who asked, and what came so far.</summary>
internal sealed class Answer
{
    private readonly AnswerChoice[] _choices;
    private int _finished;

    /// <summary>An answer to wait for, or a complaint when there is an error.</summary>
    public Answer(int index, PromptRecord record, Request? request, string? error)
    {
        (Index, LineNumber, Id, IdIsNumber) = (index, record.LineNumber, record.Id, record.IdIsNumber);
        (Format, Model, Request, Error) = (record.Format, record.Model, request, error);
        WantsLogProbs = request?.Sampling.LogProbs is not null;
        PromptTokens = request?.PromptTokenIds.Length ?? 0;
        _choices = [.. Enumerable.Range(0, request?.Sampling.N ?? 0).Select(_ => new AnswerChoice())];
    }

    /// <summary>Place among the answers, from 0.</summary>
    public int Index { get; }

    public int LineNumber { get; }

    public string Id { get; }

    public bool IdIsNumber { get; }

    public LineFormat Format { get; }

    public string? Model { get; }

    public Request? Request { get; }

    public string? Error { get; private set; }

    public bool WantsLogProbs { get; }

    public int PromptTokens { get; }

    /// <summary>Prompt tokens that the first sample shared instead of computing.</summary>
    public int CachedTokens { get; private set; }

    public IReadOnlyList<AnswerChoice> Choices => _choices;

    public int GeneratedTokens => _choices.Sum(choice => choice.TokenIds.Count);

    public bool IsComplete => Error is not null || _finished == _choices.Length;

    public void Fail(string error) => Error = error;

    /// <summary>Takes what a sample gained. Returns whether these are its first tokens.</summary>
    public bool Add(TokenEvent gained)
    {
        AnswerChoice choice = _choices[gained.SampleIndex];
        bool first = choice.TokenIds.Count == 0 && gained.TokenIds.Count > 0;
        choice.TokenIds.AddRange(gained.TokenIds);
        choice.Text.Append(gained.Text);
        if (gained.LogProbs is { } logProbs) choice.LogProbs.AddRange(logProbs);
        if (gained.SampleIndex == 0) CachedTokens = gained.CachedTokens;
        if (gained.FinishReason is { } reason)
        {
            choice.FinishReason = reason;
            _finished++;
        }
        return first;
    }
}
