using System.Globalization;
using System.Text.Json;
using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary>The sampling options of a line, by their names in JSON.</summary>
internal static class SamplingKeys
{
    public static IReadOnlyList<string> Names { get; } =
    [
        "max_tokens", "min_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "seed",
        "stop", "stop_token_ids", "ignore_eos", "include_stop_str_in_output", "logprobs", "logit_bias", "n",
    ];

    /// <summary>The options with this one set, or null when it is none of them.</summary>
    public static SamplingOptions? Apply(SamplingOptions options, LineValue value) => value.Key switch
    {
        "max_tokens" => options with { MaxTokens = value.Whole() },
        "min_tokens" => options with { MinTokens = value.Whole() },
        "temperature" => options with { Temperature = value.Number() },
        "top_k" => options with { TopK = value.Whole() },
        "top_p" => options with { TopP = value.Number() },
        "min_p" => options with { MinP = value.Number() },
        "repetition_penalty" => options with { RepetitionPenalty = value.Number() },
        "presence_penalty" => options with { PresencePenalty = value.Number() },
        "frequency_penalty" => options with { FrequencyPenalty = value.Number() },
        "seed" => options with { Seed = value.Seed() },
        "stop" => options with { StopStrings = StopsOf(value) },
        "stop_token_ids" => options with { StopTokenIds = value.TokenIds() },
        "ignore_eos" => options with { IgnoreEndToken = value.Flag() },
        "include_stop_str_in_output" => options with { IncludeStopString = value.Flag() },
        "logprobs" => options with { LogProbs = value.Whole() },
        "logit_bias" => options with { LogitBias = BiasOf(value) },
        "n" => options with { N = value.Whole() },
        _ => null,
    };

    /// <summary>Checks all ranges; complains in the names of the line.</summary>
    public static void Validate(SamplingOptions options)
    {
        try
        {
            options.Validate();
        }
        catch (ArgumentException error)
        {
            throw new LineException(InLineNames(error));
        }
    }

    private static string[] StopsOf(LineValue value) => value.Element.ValueKind == JsonValueKind.String
        ? [value.Text()]
        : [.. value.Items("a string or a list of strings").Select(item => item.Text())];

    private static Dictionary<int, float> BiasOf(LineValue value)
    {
        var bias = new Dictionary<int, float>();
        foreach (LineValue entry in value.Members("an object of token ids and numbers"))
        {
            if (!int.TryParse(entry.Key, NumberStyles.None, CultureInfo.InvariantCulture, out int id))
                throw new LineException($"logit_bias must be keyed by token ids, not '{entry.Key}'");
            bias[id] = entry.Number();
        }
        return bias;
    }

    /// <summary>A complaint of the library in the names of the line.</summary>
    public static string InLineNames(ArgumentException error)
    {
        string message = error.Message;
        int suffix = message.LastIndexOf(" (Parameter ", StringComparison.Ordinal);
        if (suffix >= 0) message = message[..suffix];
        (string Option, string Key)[] names =
        [
            (nameof(SamplingOptions.MaxTokens), "max_tokens"), (nameof(SamplingOptions.MinTokens), "min_tokens"),
            (nameof(SamplingOptions.Temperature), "temperature"), (nameof(SamplingOptions.TopK), "top_k"), (nameof(SamplingOptions.TopP), "top_p"),
            (nameof(SamplingOptions.MinP), "min_p"), (nameof(SamplingOptions.RepetitionPenalty), "repetition_penalty"),
            (nameof(SamplingOptions.PresencePenalty), "presence_penalty"), (nameof(SamplingOptions.FrequencyPenalty), "frequency_penalty"),
            (nameof(SamplingOptions.LogProbs), "logprobs"), (nameof(SamplingOptions.N), "n"),
            (nameof(SamplingOptions.StopTokenIds), "stop_token_ids"), (nameof(SamplingOptions.StopStrings), "stop"), (nameof(SamplingOptions.LogitBias), "logit_bias"),
        ];
        foreach ((string option, string key) in names)
        {
            message = message.Replace($"SamplingOptions.{option} ", key + " ", StringComparison.Ordinal)
                .Replace($" {option} =", $" {key} =", StringComparison.Ordinal);
        }
        return message.TrimEnd('.');
    }
}
