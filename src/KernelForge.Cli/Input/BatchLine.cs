using System.Text.Json;
using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary>
/// Reads lines of the OpenAI batch format: {"custom_id", "method", "url", "body"}. A body may use the sampling options of plain lines
/// beside OpenAI's own.
/// </summary>
internal static class BatchLine
{
    private const string CompletionUrl = "/v1/completions", ChatUrl = "/v1/chat/completions";

    private static readonly string[] LineKeys = ["custom_id", "method", "url", "body"];

    /// <summary>Keys of a body that change nothing here.</summary>
    private static readonly string[] IgnoredKeys = ["user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"];

    private static readonly string[] BodyKeys =
    [
        "model", "prompt", "messages", "stream", "echo", "best_of", "max_completion_tokens", "top_logprobs", "response_format",
        .. IgnoredKeys, .. SamplingKeys.Names,
    ];

    public static bool IsOne(JsonElement line) =>
        line.TryGetProperty("custom_id", out _) || line.TryGetProperty("body", out _) || line.TryGetProperty("url", out _);

    public static LineFormat FormatOf(JsonElement line) =>
        line.TryGetProperty("url", out JsonElement url) && url.ValueKind == JsonValueKind.String && url.ValueEquals(ChatUrl)
            ? LineFormat.BatchChat : LineFormat.BatchCompletion;

    /// <summary>Completes a record of which line, id and format are known.</summary>
    public static PromptRecord Read(PromptRecord record, LineValue line, SamplingOptions defaults)
    {
        foreach (LineValue value in line.Members("an object"))
            if (!LineKeys.Contains(value.Key)) throw new LineException($"unknown key '{value.Key}'{Nearest.Suggestion(value.Key, LineKeys)}");

        string url = (line.Member("url") ?? throw new LineException("no url")).Text();
        if (url is not (CompletionUrl or ChatUrl)) throw new LineException($"url must be {CompletionUrl} or {ChatUrl}, not {url}");
        if (line.Member("method") is { } method && method.Text() != "POST") throw method.Wrong("POST");

        LineValue body = line.Member("body") ?? throw new LineException("no body");
        SamplingOptions sampling = SamplingOf(body, defaults, record.Format);
        SamplingKeys.Validate(sampling);
        record = record with { Model = body.Member("model")?.Text(), Sampling = sampling };
        return record.Format == LineFormat.BatchChat ? WithMessages(record, body) : WithPrompt(record, body);
    }

    private static PromptRecord WithMessages(PromptRecord record, LineValue body)
    {
        if (body.Member("prompt") is not null) throw new LineException("a chat completion takes messages, not prompt");
        LineValue messages = body.Member("messages") ?? throw new LineException("no prompt: the body needs messages");
        return record with { Messages = PlainLine.MessagesOf(messages) };
    }

    private static PromptRecord WithPrompt(PromptRecord record, LineValue body)
    {
        if (body.Member("messages") is not null) throw new LineException("a completion takes prompt, not messages");
        LineValue prompt = body.Member("prompt") ?? throw new LineException("no prompt: the body needs prompt");
        return prompt.Element.ValueKind == JsonValueKind.Array
            ? record with { TokenIds = prompt.TokenIds() }
            : record with { Text = prompt.Text() };
    }

    private static SamplingOptions SamplingOf(LineValue body, SamplingOptions defaults, LineFormat format)
    {
        SamplingOptions sampling = defaults;
        int? topLogProbs = null;
        bool wantsLogProbs = false;
        foreach (LineValue value in body.Members("an object"))
        {
            if (value.Key is "model" or "prompt" or "messages" || IgnoredKeys.Contains(value.Key)) continue;
            if (value.Element.ValueKind == JsonValueKind.Null && BodyKeys.Contains(value.Key)) continue;
            if (format == LineFormat.BatchChat && value.Key == "logprobs") wantsLogProbs = value.Flag();
            else if (format == LineFormat.BatchChat && value.Key == "top_logprobs") topLogProbs = value.Whole();
            else if (format == LineFormat.BatchChat && value.Key == "max_completion_tokens")
                sampling = sampling with { MaxTokens = value.Whole() };
            else if (!IsSatisfied(value, body))
                sampling = SamplingKeys.Apply(sampling, value) ?? throw new LineException($"unknown key '{value.Key}'{Nearest.Suggestion(value.Key, BodyKeys)}");
        }

        if (format != LineFormat.BatchChat) return sampling;
        if (topLogProbs is not null && !wantsLogProbs) throw new LineException("top_logprobs needs logprobs to be true");
        return sampling with { LogProbs = wantsLogProbs ? topLogProbs ?? 0 : null };
    }

    /// <summary>Whether an option that is not implemented asks for what happens anyway; throws when it asks for something else.</summary>
    private static bool IsSatisfied(LineValue value, LineValue body)
    {
        bool satisfied;
        switch (value.Key)
        {
            case "stream" or "echo": satisfied = !value.Flag(); break;
            case "best_of": satisfied = value.Whole() == (body.Member("n")?.Whole() ?? 1); break;
            case "response_format": satisfied = value.Member("type") is { } type && type.Text() == "text"; break;
            default: return false;
        }
        return satisfied ? true : throw new LineException($"{value.Key} {value.Element.GetRawText()} is not supported");
    }
}
