using System.Text.Json;

namespace KernelForge.Inference;

/// <summary>From the JSON of <c>quantization_config</c> to <see cref="QuantizationConfig"/>, refusing what the readers of weights do not read.</summary>
internal sealed class QuantizationConfigReader(string path)
{
    public QuantizationConfig Read(JsonElement config)
    {
        string method = Text(config, "quant_method") ?? "(no quant_method)";
        QuantizationConfig result = method switch
        {
            "gptq" => Gptq(config),
            "awq" => Awq(config),
            "compressed-tensors" => CompressedTensors(config),
            _ => throw Refused("quant_method", method, "gptq, awq and compressed-tensors"),
        };
        if (result.Format.Bits is not (4 or 8)) throw Refused("bits", result.Format.Bits.ToString(), "4 and 8");
        return result;
    }

    private QuantizationConfig Gptq(JsonElement config)
    {
        string version = Text(config, "checkpoint_format") ?? Text(config, "format") ?? "gptq";
        QuantizationMethod method = version switch
        {
            "gptq" => QuantizationMethod.Gptq,
            "gptq_v2" => QuantizationMethod.GptqV2,
            _ => throw Refused("checkpoint_format", version, "gptq and gptq_v2"),
        };
        if (Optional(config, "dynamic") is { ValueKind: JsonValueKind.Object } dynamic)
            foreach (JsonProperty rule in dynamic.EnumerateObject())
                if (!rule.Name.StartsWith("-:", StringComparison.Ordinal)) throw Refused("dynamic", rule.Name, "rules that leave modules out, which start with -:");
        if (Text(config, "pack_dtype") is { } words && words != "int32") throw Refused("pack_dtype", words, "int32");
        bool isSymmetric = Optional(config, "sym")?.GetBoolean() ?? true;
        bool hasOrder = Optional(config, "desc_act")?.GetBoolean() == true && Optional(config, "static_groups")?.GetBoolean() != true;
        return new(method, new WeightFormat(Required(config, "bits"), Group(Required(config, "group_size")), !isSymmetric), hasOrder);
    }

    private QuantizationConfig Awq(JsonElement config)
    {
        string version = Text(config, "version") ?? "gemm";
        if (!version.Equals("gemm", StringComparison.OrdinalIgnoreCase)) throw Refused("version", version, "gemm");
        if (Required(config, "bits") is var bits and not 4) throw Refused("bits", bits.ToString(), "4");
        if (Optional(config, "zero_point")?.GetBoolean() == false) throw Refused("zero_point", "false", "true");
        return new(QuantizationMethod.Awq, new WeightFormat(4, Group(Required(config, "group_size")), HasZeroPoints: true));
    }

    private QuantizationConfig CompressedTensors(JsonElement config)
    {
        if (Optional(config, "kv_cache_scheme") is not null) throw Refused("kv_cache_scheme", "set", "null");
        if (Optional(config, "sparsity_config") is { } sparsity && Text(sparsity, "format") is { } kind && kind != "dense") throw Refused("sparsity_config", kind, "dense");
        if (Optional(config, "transform_config") is { ValueKind: JsonValueKind.Object } transform && transform.EnumerateObject().Any()) throw Refused("transform_config", "set", "{}");
        JsonElement groups = Optional(config, "config_groups") ?? throw Refused("config_groups", "missing", "one group");
        JsonElement[] schemes = [.. groups.EnumerateObject().Select(group => group.Value)];
        if (schemes.Length != 1) throw Refused("config_groups", $"{schemes.Length} groups", "one group");
        JsonElement scheme = schemes[0];
        string format = Text(scheme, "format") ?? Text(config, "format") ?? "(no format)";
        if (format != "pack-quantized") throw Refused("format", format, "pack-quantized");
        if (Optional(scheme, "input_activations") is not null) throw Refused("input_activations", "set", "null");
        if (Optional(scheme, "output_activations") is not null) throw Refused("output_activations", "set", "null");
        return new(QuantizationMethod.CompressedTensors, Weights(Optional(scheme, "weights") ?? throw Refused("weights", "missing", "int of 4 or 8 bits")));
    }

    private WeightFormat Weights(JsonElement weights)
    {
        string type = Text(weights, "type") ?? "int", strategy = Text(weights, "strategy") ?? (Optional(weights, "group_size") is null ? "channel" : "group");
        if (type != "int") throw Refused("type", type, "int");
        int groupSize = strategy switch
        {
            "channel" => 0,
            "group" => Group(Required(weights, "group_size")),
            _ => throw Refused("strategy", strategy, "group and channel"),
        };
        return new WeightFormat(Required(weights, "num_bits"), groupSize, Optional(weights, "symmetric")?.GetBoolean() == false);
    }

    private int Group(int size) => size switch
    {
        -1 => 0,
        32 or 64 or 128 => size,
        _ => throw Refused("group_size", size.ToString(), "32, 64, 128 and -1 (per channel)"),
    };

    private int Required(JsonElement parent, string name) => Optional(parent, name)?.GetInt32() ?? throw Refused(name, "missing", "a number");

    private ModelFormatException Refused(string name, string value, string supported) =>
        new($"{path}: the weights are quantised with {name} {value}, which is not supported; supported are {supported}.");

    private static string? Text(JsonElement parent, string name) => Optional(parent, name)?.GetString();

    private static JsonElement? Optional(JsonElement parent, string name) =>
        parent.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value : null;
}
