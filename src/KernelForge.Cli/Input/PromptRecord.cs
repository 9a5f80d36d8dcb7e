using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary>In which form a line asks, and so in which it is answered.</summary>
internal enum LineFormat
{
    /// <summary>{"id", "prompt" or "prompt_token_ids" or "messages", options}.</summary>
    Plain,

    /// <summary>OpenAI batch line for <c>/v1/completions</c>.</summary>
    BatchCompletion,

    /// <summary>OpenAI batch line for <c>/v1/chat/completions</c>.</summary>
    BatchChat,
}

/// <summary>One turn of a conversation in a line.</summary>
internal readonly record struct PromptMessage(string Role, string Content);

/// <summary>What a line of the input says. Exactly one of text, token ids, messages and error is set.</summary>
internal sealed record PromptRecord
{
    /// <summary>Line of the input, from 1.</summary>
    public required int LineNumber { get; init; }

    /// <summary>The line's own name, or "line-" and its number where it has none.</summary>
    public required string Id { get; init; }

    /// <summary>The id is an integer in JSON and is given back as one.</summary>
    public bool IdIsNumber { get; init; }

    public LineFormat Format { get; init; }

    /// <summary>Model name of a batch line, which is repeated in its answer and otherwise not looked at.</summary>
    public string? Model { get; init; }

    public string? Text { get; init; }

    public int[]? TokenIds { get; init; }

    public IReadOnlyList<PromptMessage>? Messages { get; init; }

    public SamplingOptions Sampling { get; init; } = SamplingOptions.Default;

    /// <summary>Why the line cannot be answered.</summary>
    public string? Error { get; init; }
}

/// <summary>A line cannot be answered. The message goes into its answer.</summary>
internal sealed class LineException(string message) : Exception(message);
