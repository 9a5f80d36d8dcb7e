using System.Globalization;
using System.Text;
using System.Text.Json;
using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary>What recommendations are to meet.</summary>
/// <param name="Efficiency">Share of the most tokens per second.</param>
/// <param name="TimeBetweenTokens">Longest step; null when any will do.</param>
/// <param name="PenaltySeconds">Of a cut answer.</param>
/// <param name="ArrivalsPerSecond">Null takes that of the requests.</param>
internal sealed record AdviceTargets(double Efficiency, TimeSpan? TimeBetweenTokens, double PenaltySeconds, double? ArrivalsPerSecond);

/// <summary>All recommendations for a device, a model and lengths.</summary>
internal sealed record Advice
{
    private const int BlockSize = 16, MaxBudget = 8192;

    public required CostModel Cost { get; init; }

    public required int Requests { get; init; }

    public required BatchSizeAdvice Batch { get; init; }

    public required TokenBudgetAdvice Budget { get; init; }

    /// <summary>The limit, and what it is without one; null where the rate of arrivals is not known.</summary>
    public (MaxTokensAdvice Best, MaxTokensAdvice Unlimited)? Limit { get; init; }

    /// <summary>Throws <see cref="ArgumentException"/> when the model, or one sequence, does not fit into the device.</summary>
    public static Advice Of(CostModel cost, RequestLengths lengths, AdviceTargets targets)
    {
        List<int> contexts = lengths.Contexts();
        long kvBytes = (long)CostModel.KvBlocksOf(cost.Device, cost.Model, BlockSize) * BlockSize * cost.Model.KvBytesPerToken;
        BatchSizeAdvice batch = BatchSizeAdvisor.Advise(cost, contexts, cost.Model.KvBytesPerToken, kvBytes,
            new BatchSizeOptions { Efficiency = targets.Efficiency, TimeBetweenTokens = targets.TimeBetweenTokens });
        int tile = cost.Device.TileTokens;
        return new Advice
        {
            Cost = cost,
            Requests = lengths.Prompts.Count,
            Batch = batch,
            Budget = TokenBudgetAdvisor.Advise(cost, new TokenBudgetOptions
            {
                Decodes = batch.Batch,
                DecodeContext = (int)contexts.Average(),
                PromptContext = lengths.Prompts.Max(),
                Tile = tile,
                MaxTokens = Math.Max(MaxBudget, (batch.Batch / tile + 1) * tile),
                TimeBetweenTokens = targets.TimeBetweenTokens,
            }),
            Limit = (targets.ArrivalsPerSecond ?? lengths.ArrivalsPerSecond) is { } rate
                ? LimitOf(cost, lengths, (long)contexts.Average(), batch.Batch, rate, targets)
                : null,
        };
    }

    public string ToText()
    {
        var text = new StringBuilder();
        (DeviceProfile device, ModelShape model) = (Cost.Device, Cost.Model);
        Line("device", $"{device.Name}: {device.MatrixFlops / 1e12:0.##} TFLOP/s, {device.MemoryBytesPerSecond / 1e9:0.##} GB/s, {SizeText.Format(device.MemoryBytes)}");
        Line("model", $"{model.Name}: weights {SizeText.Format(model.WeightBytes)}, keys and values {SizeText.Format(model.KvBytesPerToken)} for each token");
        Line("requests", $"{Requests}");
        Line("max sequences", $"{Batch.Batch} of the {Batch.LargestBatch} that fit: {Batch.TokensPerSecond:0} tokens/s, {100 * Batch.Efficiency:0} % of the most");
        Line("", $"a step takes {1000 * Batch.StepSeconds:0.##} ms");
        if (!Batch.MeetsLatency) Line("", $"that is more than the time between tokens asked for; no number keeps it");
        else if (!Batch.MeetsEfficiency) Line("", $"that is less than the efficiency asked for; no number reaches it in the time between tokens");
        Line("KV memory", $"{SizeText.Format(Batch.KvBytes)}; {SizeText.Format(Batch.FreeBytes)} stay free");
        Line("", $"another copy of the model takes {SizeText.Format(model.WeightBytes + Batch.KvBytes)} with them");
        Line("token budget", $"{Budget.Tokens}: {Budget.TokensPerSecond:0} tokens/s");
        Line("", $"a full step takes {1000 * Budget.StepSeconds:0.##} ms, one without a prompt {1000 * Budget.DecodeSeconds:0.##} ms");
        if (!Budget.MeetsTarget) Line("", $"that is more than the time between tokens asked for; no budget keeps it");
        if (Limit is { } limit)
        {
            Line("max tokens", $"{limit.Best.MaxTokens}: {Wait(limit.Best)}, {100 * limit.Best.ClippedShare:0.##} % of the answers cut");
            Line("", $"without a limit {Wait(limit.Unlimited)}");
        }
        return text.ToString();

        void Line(string name, FormattableString value) => text.Append($"{name,-18}").Append(value.ToString(CultureInfo.InvariantCulture)).Append('\n');
    }

    public string ToJson()
    {
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true, NewLine = "\n" }))
        {
            json.WriteStartObject();
            json.WriteString("device", Cost.Device.Name);
            json.WriteString("model", Cost.Model.Name);
            json.WriteNumber("requests", Requests);
            WriteBatch(json);
            WriteBudget(json);
            WriteLimit(json);
            json.WriteEndObject();
        }
        return Encoding.UTF8.GetString(stream.ToArray()) + "\n";
    }

    private void WriteBatch(Utf8JsonWriter json)
    {
        json.WriteStartObject("max_sequences");
        json.WriteNumber("value", Batch.Batch);
        json.WriteNumber("largest", Batch.LargestBatch);
        json.WriteNumber("tokens_per_second", Batch.TokensPerSecond);
        json.WriteNumber("plateau_tokens_per_second", Batch.PlateauTokensPerSecond);
        json.WriteNumber("step_seconds", Batch.StepSeconds);
        json.WriteNumber("kv_bytes", Batch.KvBytes);
        json.WriteNumber("free_bytes", Batch.FreeBytes);
        json.WriteBoolean("meets_efficiency", Batch.MeetsEfficiency);
        json.WriteBoolean("meets_latency", Batch.MeetsLatency);
        json.WriteEndObject();
    }

    private void WriteBudget(Utf8JsonWriter json)
    {
        json.WriteStartObject("token_budget");
        json.WriteNumber("value", Budget.Tokens);
        json.WriteNumber("step_seconds", Budget.StepSeconds);
        json.WriteNumber("tokens_per_second", Budget.TokensPerSecond);
        json.WriteNumber("decode_seconds", Budget.DecodeSeconds);
        json.WriteBoolean("meets_latency", Budget.MeetsTarget);
        json.WriteEndObject();
    }

    private void WriteLimit(Utf8JsonWriter json)
    {
        if (Limit is not { } limit)
        {
            json.WriteNull("max_tokens");
            return;
        }
        json.WriteStartObject("max_tokens");
        json.WriteNumber("value", limit.Best.MaxTokens);
        WriteSeconds("wait_seconds", limit.Best.WaitSeconds);
        WriteSeconds("wait_seconds_without", limit.Unlimited.WaitSeconds);
        json.WriteNumber("utilisation", limit.Best.Utilisation);
        json.WriteNumber("clipped_share", limit.Best.ClippedShare);
        json.WriteEndObject();

        void WriteSeconds(string name, double seconds)
        {
            if (double.IsFinite(seconds)) json.WriteNumber(name, seconds);
            else json.WriteNull(name);
        }
    }

    /// <summary>
    /// Batches up to the recommended size, of the size that costs least: a prompt each, then steps whose time is a line of the sequences in them.
    /// </summary>
    private static (MaxTokensAdvice, MaxTokensAdvice) LimitOf(
        CostModel cost, RequestLengths lengths, long context, int batch, double rate, AdviceTargets targets)
    {
        int prompt = (int)lengths.Prompts.Average();
        double one = cost.SecondsOf(new StepLoad(1, context, 0, 0)), all = cost.SecondsOf(new StepLoad(batch, batch * context, 0, 0));
        double perToken = batch > 1 ? Math.Clamp((all - one) / (batch - 1), 0, one) : 0;
        var service = new ServiceTime(cost.SecondsOf(new StepLoad(0, 0, prompt, (long)prompt * (prompt + 1) / 2)), 0, perToken, one - perToken);
        List<MaxTokensAdvice> limited = [], unlimited = [];
        for (int size = 1; ; size = Math.Min(2 * size, batch))
        {
            var options = new MaxTokensOptions { ArrivalsPerSecond = rate, Service = service, BatchSize = size, PenaltySeconds = targets.PenaltySeconds };
            limited.Add(MaxTokensAdvisor.Advise(lengths.Outputs, options));
            unlimited.Add(MaxTokensAdvisor.CostOf(lengths.Outputs, lengths.Outputs.Max(), options));
            if (size == batch) return (limited.MinBy(advice => advice.CostSeconds), unlimited.MinBy(advice => advice.CostSeconds));
        }
    }

    private static string Wait(in MaxTokensAdvice advice) => advice.IsStable
        ? string.Create(CultureInfo.InvariantCulture, $"a wait of {advice.WaitSeconds:0.##} s")
        : "a queue that grows without end";
}
