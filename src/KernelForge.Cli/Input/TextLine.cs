using System.Text.Json;
using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary>A text of a file.</summary>
/// <param name="LineNumber">From 1.</param>
/// <param name="Tokens">All of it.</param>
/// <param name="Given">Tokens of the prompt, which is not to be predicted; 0 where there is none.</param>
internal sealed record TextLine(int LineNumber, int[] Tokens, int Given);

/// <summary>
/// Reads texts as token ids: lines of {"text"}, or of a prompt as <c>kf run</c> takes it with its answer as "text" or "token_ids" beside it, by id in a
/// file of answers, or nowhere. Other keys are not looked at.
/// </summary>
/// <param name="tokenizer">Of the model.</param>
/// <param name="template">Of the model; null when it has none.</param>
/// <param name="raw">Puts no special tokens around texts.</param>
/// <param name="answers">Answers by id, or null.</param>
internal sealed class TextLineReader(ITokenizer tokenizer, ChatTemplate? template, bool raw, ExpectedAnswers? answers = null)
{
    private readonly RequestBuilder _builder = new(tokenizer, template, raw);

    /// <summary>All texts. Throws <see cref="CommandException"/> for a line that is none.</summary>
    public IEnumerable<TextLine> Read(Stream stream, string name)
    {
        foreach (JsonLine line in JsonLines.Read(stream))
        {
            if (JsonLines.IsBlank(line.Bytes.Span)) continue;
            TextLine text;
            try
            {
                text = Read(line);
            }
            catch (Exception error) when (error is JsonException or LineException or InvalidOperationException)
            {
                throw new CommandException($"{name}, line {line.Number}: {error.Message.TrimEnd('.')}.");
            }
            yield return text;
        }
    }

    private TextLine Read(JsonLine line)
    {
        using JsonDocument document = JsonDocument.Parse(line.Bytes);
        var root = new LineValue("the line", document.RootElement);
        if (root.Element.ValueKind != JsonValueKind.Object) throw root.Wrong("a JSON object");

        bool isBatch = BatchLine.IsOne(root.Element);
        LineValue? id = root.Member(isBatch ? "custom_id" : "id");
        var record = new PromptRecord { LineNumber = line.Number, Id = id is { } given ? TextOf(given) : "" };
        if (isBatch) record = BatchLine.Read(record with { Format = BatchLine.FormatOf(root.Element) }, root, SamplingOptions.Default);
        else
            record = record with
            {
                Text = root.Member("prompt")?.Text(),
                TokenIds = root.Member("prompt_token_ids")?.TokenIds(),
                Messages = root.Member("messages") is { } messages ? PlainLine.MessagesOf(messages) : null,
            };
        bool hasPrompt = record.Text is not null || record.TokenIds is not null || record.Messages is not null;
        if (!hasPrompt) record = record with { Text = (root.Member("text") ?? throw new LineException("no text: the line needs text or a prompt")).Text() };

        Answer answer = _builder.Begin(record, line.Number);
        int[] tokens = answer.Request?.PromptTokenIds.ToArray() ?? throw new LineException(answer.Error!);
        return hasPrompt ? new TextLine(line.Number, [.. tokens, .. AnswerOf(root, record.Id)], tokens.Length) : new TextLine(line.Number, tokens, 0);
    }

    private int[] AnswerOf(LineValue root, string id)
    {
        (string? text, int[]? tokenIds) = answers?.Find(id) ?? (root.Member("text")?.Text(), root.Member("token_ids")?.TokenIds());
        return tokenIds ?? (text is null ? [] : tokenizer.Encode(text, addSpecialTokens: false));
    }

    private static string TextOf(LineValue id) => id.Element.ValueKind == JsonValueKind.String ? id.Text() : id.Element.GetRawText();
}
