using System.Text.Json;

namespace KernelForge.Inference;

/// <summary>
/// Reads a trace: JSON lines, one for each request, by arrival. <c>{"arrival":0.5,"prompt_tokens":2200,"output_tokens":100}</c> and, where they are known,
/// <c>"prefix_id"</c> with <c>"prefix_tokens"</c> (requests with the same id begin with the same tokens; they are part of prompt_tokens), or
/// <c>"prompt_token_ids"</c> instead of the number; <c>"max_tokens"</c> (the length of the output when it is left out), <c>"class"</c>, <c>"tenant"</c>,
/// <c>"priority"</c>, <c>"timeout"</c> (seconds), <c>"id"</c>. Other keys are not looked at. Empty lines are skipped.
/// </summary>
public static class TraceReader
{
    private const int MostTokens = 1 << 24; // of a prompt

    /// <summary>
    /// Reads all of it. Throws <see cref="InvalidDataException"/> that names file and line, what was expected and what came.
    /// </summary>
    /// <param name="stream">The lines.</param>
    /// <param name="name">What to call it.</param>
    /// <param name="lengths">What the scheduler is told of the lengths of answers.</param>
    /// <param name="most">Reads so many requests at most.</param>
    public static Workload Read(Stream stream, string name, OutputLengths lengths = OutputLengths.History, int most = int.MaxValue)
    {
        var requests = new List<SimulatedRequest>();
        foreach (JsonLine line in JsonLines.Read(stream))
        {
            if (requests.Count == most) break;
            if (JsonLines.IsBlank(line.Bytes.Span)) continue;
            try
            {
                using JsonDocument document = JsonDocument.Parse(line.Bytes);
                requests.Add(RequestOf(document.RootElement, requests.Count > 0 ? requests[^1].Arrival : TimeSpan.Zero, line.Number, lengths));
            }
            catch (Exception error) when (error is JsonException or InvalidDataException)
            {
                throw new InvalidDataException($"{name}, line {line.Number}: {error.Message}", error);
            }
        }
        if (requests.Count == 0) throw new InvalidDataException($"{name} must have a line at least; it has none.");
        return new Workload(Path.GetFileNameWithoutExtension(name), requests, lengths);
    }

    private static SimulatedRequest RequestOf(JsonElement line, TimeSpan previous, int number, OutputLengths lengths)
    {
        if (line.ValueKind != JsonValueKind.Object) throw Wrong("the line", "a JSON object", line);

        TimeSpan arrival = TimeSpan.FromSeconds(Seconds(line, "arrival") ?? throw Missing("arrival, in seconds"));
        if (arrival < previous)
            throw new InvalidDataException($"arrival must not be before that of the line above, {previous.TotalSeconds} s; it is {arrival.TotalSeconds} s.");
        int output = Whole(line, "output_tokens", 1) ?? throw Missing("output_tokens");
        int limit = Whole(line, "max_tokens", output) ?? output;
        var request = new Request(PromptOf(line, number), new SamplingOptions { MaxTokens = limit })
        {
            Id = Text(line, "id"),
            TaskClass = Text(line, "class"),
            Tenant = Text(line, "tenant"),
            Priority = Whole(line, "priority", int.MinValue) ?? 0,
            Timeout = Seconds(line, "timeout") is { } seconds ? TimeSpan.FromSeconds(seconds) : null,
            ExpectedTokens = Workload.Expected(lengths, output, limit),
        };
        return new SimulatedRequest(request, arrival, output);
    }

    private static int[] PromptOf(JsonElement line, int number)
    {
        if (line.TryGetProperty("prompt_token_ids", out JsonElement ids)) return TokenIds(ids);

        int length = Whole(line, "prompt_tokens", 1, MostTokens) ?? throw Missing("prompt_tokens or prompt_token_ids");
        string prefix = Text(line, "prefix_id");
        int shared = Whole(line, "prefix_tokens", 0, length) ?? 0;
        if (shared > 0 && prefix.Length == 0) throw Missing("prefix_id beside prefix_tokens");
        if (shared == 0 && prefix.Length > 0) throw Missing("prefix_tokens, 1 or more, beside prefix_id");
        var tokens = new int[length];
        SimulatedTokens.Fill(tokens.AsSpan(0, shared), SimulatedTokens.StreamOf(prefix));
        SimulatedTokens.Fill(tokens.AsSpan(shared), SimulatedRandom.Hash((ulong)number, 3));
        return tokens;
    }

    private static int[] TokenIds(JsonElement ids)
    {
        const string Expected = "a list of one token id or more, 0 or above";
        if (ids.ValueKind != JsonValueKind.Array || ids.GetArrayLength() == 0) throw Wrong("prompt_token_ids", Expected, ids);
        var tokens = new int[ids.GetArrayLength()];
        for (int i = 0; i < tokens.Length; i++)
        {
            if (ids[i].ValueKind != JsonValueKind.Number || !ids[i].TryGetInt32(out tokens[i]) || tokens[i] < 0)
                throw Wrong($"prompt_token_ids[{i}]", "a token id, 0 or above", ids[i]);
        }
        return tokens;
    }

    private static double? Seconds(JsonElement line, string key)
    {
        if (!line.TryGetProperty(key, out JsonElement value)) return null;
        return value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out double seconds) && seconds >= 0 && seconds < TimeSpan.MaxValue.TotalSeconds / 2
            ? seconds : throw Wrong(key, "a number of seconds, 0 or more", value);
    }

    private static int? Whole(JsonElement line, string key, int minimum, int maximum = int.MaxValue)
    {
        if (!line.TryGetProperty(key, out JsonElement value)) return null;
        if (value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int whole) && whole >= minimum && whole <= maximum) return whole;
        string range = minimum == int.MinValue ? "" : maximum == int.MaxValue ? $", {minimum} or more" : $" from {minimum} to {maximum}";
        throw Wrong(key, "a whole number" + range, value);
    }

    private static string Text(JsonElement line, string key)
    {
        if (!line.TryGetProperty(key, out JsonElement value)) return "";
        return value.ValueKind switch
        {
            JsonValueKind.String => value.GetString()!,
            JsonValueKind.Number => value.GetRawText(),
            _ => throw Wrong(key, "a string", value),
        };
    }

    private static InvalidDataException Missing(string what) => new($"expected {what}; it is not there.");

    private static InvalidDataException Wrong(string key, string expected, JsonElement got)
    {
        string text = got.GetRawText();
        return new InvalidDataException($"{key} must be {expected}, not {(text.Length <= 40 ? text : text[..40] + "...")}.");
    }
}
