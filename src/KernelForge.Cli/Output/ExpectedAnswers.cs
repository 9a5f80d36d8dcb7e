using System.Text.Json;
using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary>
/// Answers that are known to be right, by id: lines of {"id", "text"} or {"id", "token_ids"}, other keys aside, so that an earlier output
/// serves too. Texts are equal when they are so without white space at both ends; a line with a text is compared by it.
/// </summary>
internal sealed class ExpectedAnswers
{
    private readonly Dictionary<string, (string? Text, int[]? TokenIds)> _answers = [];

    private ExpectedAnswers()
    {
    }

    /// <summary>Reads a file. Throws <see cref="CommandException"/> when a line is none of the two.</summary>
    public static ExpectedAnswers Read(Stream stream, string name)
    {
        var expected = new ExpectedAnswers();
        foreach (JsonLine line in JsonLines.Read(stream))
        {
            if (JsonLines.IsBlank(line.Bytes.Span)) continue;
            try
            {
                expected.Add(line);
            }
            catch (Exception error) when (error is JsonException or LineException or InvalidOperationException)
            {
                throw new CommandException($"{name}, line {line.Number}: {error.Message.TrimEnd('.')}.");
            }
        }
        return expected;
    }

    /// <summary>
    /// Whether the answer is the expected one, by its first choice; null when nothing is expected. An error is not the expected answer.
    /// </summary>
    public bool? IsRight(Answer answer)
    {
        if (!_answers.TryGetValue(answer.Id, out (string? Text, int[]? TokenIds) expected)) return null;
        if (answer.Error is not null) return false;

        AnswerChoice choice = answer.Choices[0];
        return expected.Text is { } text
            ? choice.Text.ToString().AsSpan().Trim().SequenceEqual(text.AsSpan().Trim())
            : choice.TokenIds.SequenceEqual(expected.TokenIds!);
    }

    /// <summary>What is expected for an id; one of the two is set. Null when nothing is.</summary>
    public (string? Text, int[]? TokenIds)? Find(string id) => _answers.TryGetValue(id, out (string? Text, int[]? TokenIds) expected) ? expected : null;

    private void Add(JsonLine line)
    {
        using JsonDocument document = JsonDocument.Parse(line.Bytes);
        var root = new LineValue("the line", document.RootElement);
        LineValue id = root.Member("id") ?? throw new LineException("an expected answer needs an id");
        string key = id.Element.ValueKind == JsonValueKind.String ? id.Text() : id.Element.GetRawText();
        string? text = root.Member("text")?.Text();
        int[]? tokenIds = root.Member("token_ids")?.TokenIds();
        if (text is null && tokenIds is null) throw new LineException("an expected answer needs text or token_ids");
        if (!_answers.TryAdd(key, (text, tokenIds))) throw new LineException($"the id '{key}' comes twice");
    }
}
