using System.Text.Json;

namespace KernelForge.Inference;

/// <summary>From the JSON of a Hugging Face configuration to <see cref="ModelConfig"/>, refusing what the model code does not do.</summary>
internal static class ModelConfigReader
{
    public static ModelConfig Read(string path, JsonElement config, JsonElement? generation)
    {
        string architecture = Architecture(path, config);
        RefuseUnsupported(path, config);

        int hiddenSize = Positive(path, config, "hidden_size");
        int queryHeads = Positive(path, config, "num_attention_heads");
        int kvHeads = Optional(config, "num_key_value_heads")?.GetInt32() ?? queryHeads;
        int headDim = Optional(config, "head_dim")?.GetInt32() ?? hiddenSize / queryHeads;
        if (kvHeads < 1 || queryHeads % kvHeads != 0)
            throw new ModelFormatException($"{path}: {queryHeads} query heads cannot share {kvHeads} key/value heads.");
        if (headDim < 2 || headDim % 2 != 0) throw new ModelFormatException($"{path}: head_dim is {headDim}, expected an even number.");

        int vocabularySize = Positive(path, config, "vocab_size");
        int[] endTokenIds = [.. TokenIds(config, "eos_token_id").Concat(generation is { } g ? TokenIds(g, "eos_token_id") : []).Distinct()];
        bool attentionBias = Optional(config, "attention_bias")?.GetBoolean() ?? false;
        var result = new ModelConfig
        {
            Architecture = architecture,
            HiddenSize = hiddenSize,
            Layers = Positive(path, config, "num_hidden_layers"),
            QueryHeads = queryHeads,
            KvHeads = kvHeads,
            HeadDim = headDim,
            MlpSize = Positive(path, config, "intermediate_size"),
            VocabularySize = vocabularySize,
            MaxContext = MaxContext(path, config),
            RmsNormEpsilon = Optional(config, "rms_norm_eps")?.GetSingle() ?? 1e-6f,
            QkvBias = architecture == "Qwen2ForCausalLM" || attentionBias,
            OutputBias = architecture != "Qwen2ForCausalLM" && attentionBias,
            MlpBias = Optional(config, "mlp_bias")?.GetBoolean() ?? false,
            QkNorm = architecture == "Qwen3ForCausalLM",
            TiedEmbeddings = Optional(config, "tie_word_embeddings")?.GetBoolean() ?? false,
            Quantization = Optional(config, "quantization_config") is { } quantization ? new QuantizationConfigReader(path).Read(quantization) : null,
            EndTokenIds = [.. endTokenIds.Where(id => (uint)id < (uint)vocabularySize)], // others cannot be generated
        };
        return ReadRope(path, config, result);
    }

    private static string Architecture(string path, JsonElement config)
    {
        string? architecture = null;
        if (Optional(config, "architectures") is { ValueKind: JsonValueKind.Array } names && names.GetArrayLength() > 0) architecture = names[0].GetString();
        if (architecture is not null && ModelConfig.SupportedArchitectures.Contains(architecture)) return architecture;
        throw new ModelFormatException(
            $"{path}: architecture {architecture ?? "(none named)"} is not supported; supported are {string.Join(", ", ModelConfig.SupportedArchitectures)}.");
    }

    private static void RefuseUnsupported(string path, JsonElement config)
    {
        string activation = Optional(config, "hidden_act")?.GetString() ?? "silu";
        if (activation != "silu") throw new ModelFormatException($"{path}: hidden_act {activation} is not supported; supported is silu.");
    }

    // Within one sliding window a sliding-window model computes what full attention computes, so the window is the limit.
    private static int MaxContext(string path, JsonElement config)
    {
        int positions = Positive(path, config, "max_position_embeddings");
        bool usesWindow = Optional(config, "use_sliding_window")?.GetBoolean() ?? true;
        int context = positions;
        if (usesWindow && Optional(config, "sliding_window") is { ValueKind: JsonValueKind.Number } window) context = Math.Min(positions, window.GetInt32());
        return context >= 2 ? context : throw new ModelFormatException($"{path}: a context of {context} tokens, expected 2 or more.");
    }

    private static ModelConfig ReadRope(string path, JsonElement config, ModelConfig result)
    {
        // Newer files gather everything in rope_parameters; older ones have rope_theta and rope_scaling.
        JsonElement? scaling = Optional(config, "rope_parameters") ?? Optional(config, "rope_scaling");
        double theta = Optional(config, "rope_theta")?.GetDouble() ?? (scaling is { } s ? Optional(s, "rope_theta")?.GetDouble() : null) ?? 10_000;
        result = result with { RopeTheta = PositiveNumber(path, "rope_theta", theta) };
        if (scaling is not { } parameters) return result;

        string kind = (Optional(parameters, "rope_type") ?? Optional(parameters, "type"))?.GetString() ?? "default";
        if (kind == "default") return result;
        double Factor(string name) => PositiveNumber(path, name,
            Optional(parameters, name)?.GetDouble() ?? throw new ModelFormatException($"{path}: rope scaling {kind} needs {name}."));
        return kind switch
        {
            "linear" => result with { RopeScaling = RopeScaling.Linear, RopeFactor = Factor("factor") },
            "llama3" => result with
            {
                RopeScaling = RopeScaling.Llama3,
                RopeFactor = Factor("factor"),
                RopeLowFrequencyFactor = Factor("low_freq_factor"),
                RopeHighFrequencyFactor = Factor("high_freq_factor"),
                RopeOriginalPositions = Factor("original_max_position_embeddings"),
            },
            _ => throw new ModelFormatException($"{path}: rope scaling {kind} is not supported; supported are default, linear and llama3."),
        };
    }

    private static int[] TokenIds(JsonElement config, string name) => Optional(config, name) switch
    {
        { ValueKind: JsonValueKind.Array } list => [.. list.EnumerateArray().Select(id => id.GetInt32())],
        { ValueKind: JsonValueKind.Number } id => [id.GetInt32()],
        _ => [],
    };

    private static int Positive(string path, JsonElement config, string name)
    {
        int? value = Optional(config, name)?.GetInt32();
        return value is > 0 ? value.Value : throw new ModelFormatException($"{path}: {name} is {value?.ToString() ?? "missing"}, expected a positive number.");
    }

    private static double PositiveNumber(string path, string name, double value) =>
        value > 0 && double.IsFinite(value) ? value : throw new ModelFormatException($"{path}: {name} is {value}, expected a positive number.");

    private static JsonElement? Optional(JsonElement parent, string name) =>
        parent.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value : null;
}
