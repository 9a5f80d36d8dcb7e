using System.Buffers.Binary;
using System.Text;
using System.Text.Json.Nodes;

namespace KernelForge.Tests;

/// <summary>
/// A small random model of a family in a temporary Hugging Face folder: 2 layers, hidden 64, 97 token ids. Weights come from an integer hash, so no binary is stored.
/// </summary>
internal sealed class TinyModel : IDisposable
{
    private const int Hidden = 64, Mlp = 96, Vocabulary = 97, Layers = 2;

    private readonly Dictionary<string, (int[] Shape, float[] Values)> _tensors = [];
    private readonly DType _dtype;

    private readonly uint _seed;

    private TinyModel(DType dtype, uint seed = 0) => (_dtype, _seed) = (dtype, seed);

    /// <summary>Names for <see cref="Create"/>: every family and what distinguishes it.</summary>
    public static string[] Families => ["llama", "llama-tied", "llama3-scaling", "llama-linear-scaling", "llama-biases", "mistral", "qwen2", "qwen3"];

    public string Folder { get; } = Directory.CreateTempSubdirectory("kf-tiny-").FullName;

    public ModelConfig Config => ModelConfig.Load(Folder);

    /// <summary>A model in a folder. <paramref name="idleLayer"/> adds nothing to what goes through it; -1 for none.</summary>
    public static TinyModel Create(string family, DType dtype = DType.F32, int shards = 1, uint seed = 0, int idleLayer = -1)
    {
        var model = new TinyModel(dtype, seed);
        JsonObject config = ConfigOf(family);
        model.AddTensors(family, config);
        foreach (string name in (string[])["self_attn.o_proj", "mlp.down_proj"])
            if (idleLayer >= 0) model._tensors[$"model.layers.{idleLayer}.{name}.weight"].Values.AsSpan().Clear();
        model.WriteConfig(config);
        model.WriteWeights(shards);
        return model;
    }

    /// <summary>Elements of a tensor as stored.</summary>
    public double[] Tensor(string name) => [.. _tensors[name].Values];

    /// <summary>
    /// A model whose linear layers are quantised by rounding and stored as a method does; <see cref="Tensor"/> then has what their codes stand for. Groups of 32
    /// divide all of its widths.
    /// </summary>
    public static TinyModel CreateQuantized(
        string family, QuantizationMethod method, WeightFormat format, bool hasOrder = false, DType dtype = DType.F16, string? config = null)
    {
        var model = new TinyModel(dtype);
        JsonObject json = ConfigOf(family);
        model.AddTensors(family, json);
        json["quantization_config"] = config is null ? StoredWeights.Config(method, format) : JsonNode.Parse(config);
        model.WriteConfig(json);
        List<NamedTensor> stored = [.. model._tensors.Keys.ToArray().SelectMany(name => model.Stored(name, method, format, hasOrder))];
        SafetensorsFolder.Write(Path.Combine(model.Folder, "model.safetensors"), stored);
        return model;
    }

    /// <summary>Adds a byte-level tokenizer whose ids are single characters: "!" is 2, the others follow in code order; 0 begins and 1 ends a text.</summary>
    public void WriteTokenizer()
    {
        var vocabulary = new JsonObject { ["<s>"] = 0, ["</s>"] = 1 };
        for (int id = 2; id < Vocabulary - 1; id++) vocabulary[((char)('!' + id - 2)).ToString()] = id;
        vocabulary["Ġ"] = Vocabulary - 1; // a space, as byte-level vocabularies write it
        File.WriteAllText(Path.Combine(Folder, "tokenizer.json"), new JsonObject
        {
            ["added_tokens"] = new JsonArray(SpecialToken("<s>", 0), SpecialToken("</s>", 1)),
            ["pre_tokenizer"] = JsonNode.Parse("""{"type":"ByteLevel","add_prefix_space":false,"use_regex":true}"""),
            ["decoder"] = JsonNode.Parse("""{"type":"ByteLevel"}"""),
            ["model"] = new JsonObject { ["type"] = "BPE", ["vocab"] = vocabulary, ["merges"] = new JsonArray() },
        }.ToJsonString());
    }

    public void Dispose() => Directory.Delete(Folder, recursive: true);

    public void WriteConfig(JsonObject config) => File.WriteAllText(Path.Combine(Folder, "config.json"), config.ToJsonString());

    public static JsonObject ConfigOf(string family)
    {
        var config = new JsonObject
        {
            ["architectures"] = new JsonArray("LlamaForCausalLM"),
            ["hidden_size"] = Hidden,
            ["intermediate_size"] = Mlp,
            ["num_hidden_layers"] = Layers,
            ["num_attention_heads"] = 4,
            ["num_key_value_heads"] = 2,
            ["vocab_size"] = Vocabulary,
            ["max_position_embeddings"] = 1024,
            ["rms_norm_eps"] = 1e-5,
            ["rope_theta"] = 10_000.0,
            ["hidden_act"] = "silu",
            ["eos_token_id"] = 1,
            ["tie_word_embeddings"] = false,
        };
        switch (family)
        {
            case "llama": break;
            case "llama-tied": config["tie_word_embeddings"] = true; break;
            case "llama3-scaling":
                config["rope_theta"] = 500_000.0;
                config["rope_scaling"] = JsonNode.Parse("""{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":64}""");
                break;
            case "llama-linear-scaling": config["rope_scaling"] = JsonNode.Parse("""{"type":"linear","factor":2.5}"""); break;
            case "llama-biases": (config["attention_bias"], config["mlp_bias"]) = (true, true); break;
            case "mistral": (config["architectures"], config["num_key_value_heads"], config["sliding_window"]) = (new JsonArray("MistralForCausalLM"), 1, 512); break;
            case "qwen2": (config["architectures"], config["num_key_value_heads"], config["use_sliding_window"], config["sliding_window"]) = (new JsonArray("Qwen2ForCausalLM"), 4, false, 16); break;
            case "qwen3": (config["architectures"], config["head_dim"]) = (new JsonArray("Qwen3ForCausalLM"), 24); break;
            default: throw new ArgumentException($"no family {family}");
        }
        return config;
    }

    /// <summary>Writes tensors as a safetensors file.</summary>
    public static void WriteSafetensors(string path, IEnumerable<(string Name, int[] Shape, float[] Values)> tensors, DType dtype)
    {
        var header = new JsonObject { ["__metadata__"] = new JsonObject { ["format"] = "pt" } };
        using var data = new MemoryStream();
        foreach ((string name, int[] shape, float[] values) in tensors)
        {
            long start = data.Length;
            foreach (float value in values)
                data.Write(dtype switch
                {
                    DType.F32 => BitConverter.GetBytes(value),
                    DType.F16 => BitConverter.GetBytes((Half)value),
                    _ => BitConverter.GetBytes(((BFloat16)value).ToBits()),
                });
            header[name] = new JsonObject
            {
                ["dtype"] = dtype.ToString(),
                ["shape"] = new JsonArray([.. shape.Select(dimension => JsonValue.Create(dimension))]),
                ["data_offsets"] = new JsonArray(start, data.Length),
            };
        }

        byte[] text = Encoding.UTF8.GetBytes(header.ToJsonString()), length = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)text.Length);
        File.WriteAllBytes(path, [.. length, .. text, .. data.ToArray()]);
    }

    /// <summary>A tensor as it is, or the quantised weights that take its place; the order is one and the same for all modules of a layer.</summary>
    private List<NamedTensor> Stored(string name, QuantizationMethod method, WeightFormat format, bool hasOrder)
    {
        (int[] shape, float[] values) = _tensors[name];
        if (!name.EndsWith("_proj.weight", StringComparison.Ordinal)) return [new(name, _dtype.ToString(), [.. shape.Select(size => (long)size)], Numbers.ToBytes(values, _dtype))];

        (int n, int k) = (shape[0], shape[1]);
        int[] order = [.. Enumerable.Range(0, k)];
        if (hasOrder) new Random(k).Shuffle(order);
        if (hasOrder && format.GroupSize > 0) order = [.. order.Chunk(format.GroupSize).SelectMany(group => group.Order())];
        var packed = new float[n, k];
        for (int i = 0; i < n; i++)
            for (int j = 0; j < k; j++) packed[i, j] = values[i * k + order[j]];
        QuantizedMatrix rounded = QuantizedMatrix.Round(packed, format, DType.F16);
        byte[]? zeros = method == QuantizationMethod.Gptq ? rounded.Zeros?.Select(zero => Math.Max(zero, (byte)1)).ToArray() : rounded.Zeros; // version 1 has none of 0
        var matrix = new QuantizedMatrix(format, n, k, rounded.Codes, rounded.Scales, zeros, hasOrder ? order : null);
        _tensors[name] = (shape, [.. matrix.Dequantize().Cast<float>()]);
        return StoredWeights.Tensors(method, name[..^".weight".Length], matrix);
    }

    private static JsonObject SpecialToken(string text, int id) => new() { ["id"] = id, ["content"] = text, ["special"] = true };

    private void AddTensors(string family, JsonObject config)
    {
        int heads = (int)config["num_attention_heads"]!, kvHeads = (int)config["num_key_value_heads"]!;
        int headDim = (int?)config["head_dim"] ?? Hidden / heads;
        bool attentionBias = family is "llama-biases", mlpBias = family is "llama-biases";

        Add("model.embed_tokens.weight", 1, Vocabulary, Hidden);
        for (int layer = 0; layer < Layers; layer++)
        {
            string name = $"model.layers.{layer}.";
            AddNorm(name + "input_layernorm.weight", Hidden);
            AddNorm(name + "post_attention_layernorm.weight", Hidden);
            AddLinear(name + "self_attn.q_proj", heads * headDim, Hidden, attentionBias || family == "qwen2");
            AddLinear(name + "self_attn.k_proj", kvHeads * headDim, Hidden, attentionBias || family == "qwen2");
            AddLinear(name + "self_attn.v_proj", kvHeads * headDim, Hidden, attentionBias || family == "qwen2");
            AddLinear(name + "self_attn.o_proj", Hidden, heads * headDim, attentionBias);
            AddLinear(name + "mlp.gate_proj", Mlp, Hidden, mlpBias);
            AddLinear(name + "mlp.up_proj", Mlp, Hidden, mlpBias);
            AddLinear(name + "mlp.down_proj", Hidden, Mlp, mlpBias);
            if (family != "qwen3") continue;
            AddNorm(name + "self_attn.q_norm.weight", headDim);
            AddNorm(name + "self_attn.k_norm.weight", headDim);
        }
        AddNorm("model.norm.weight", Hidden);
        if (!(bool)config["tie_word_embeddings"]!) Add("lm_head.weight", 1, Vocabulary, Hidden);
    }

    private void AddLinear(string name, int outputs, int inputs, bool bias)
    {
        Add(name + ".weight", 2 / Math.Sqrt(inputs), outputs, inputs);
        if (bias) Add(name + ".bias", 0.5, outputs);
    }

    private void AddNorm(string name, int size)
    {
        Add(name, 0.3, size);
        float[] values = _tensors[name].Values;
        for (int i = 0; i < size; i++) values[i] = Round(1 + values[i]);
    }

    private void Add(string name, double scale, params int[] shape)
    {
        uint seed = name.Aggregate(2166136261u ^ _seed, (hash, c) => (hash ^ c) * 16777619u);
        var values = new float[shape.Aggregate(1, (product, dimension) => product * dimension)];
        for (int i = 0; i < values.Length; i++)
        {
            uint hash = (seed ^ (uint)i) * 2654435761u;
            hash = (hash ^ (hash >> 15)) * 2246822519u;
            hash ^= hash >> 13;
            values[i] = Round((float)((hash / (double)uint.MaxValue * 2 - 1) * scale));
        }
        _tensors[name] = (shape, values);
    }

    private float Round(float value) => _dtype switch { DType.F16 => (float)(Half)value, DType.BF16 => (BFloat16)value, _ => value };

    private void WriteWeights(int shards)
    {
        var all = _tensors.Select((pair, i) => (File: $"model-{i % shards + 1:D5}-of-{shards:D5}.safetensors", pair.Key, pair.Value.Shape, pair.Value.Values)).ToArray();
        if (shards == 1)
        {
            WriteSafetensors(Path.Combine(Folder, "model.safetensors"), all.Select(tensor => (tensor.Key, tensor.Shape, tensor.Values)), _dtype);
            return;
        }

        foreach (var shard in all.GroupBy(tensor => tensor.File))
            WriteSafetensors(Path.Combine(Folder, shard.Key), shard.Select(tensor => (tensor.Key, tensor.Shape, tensor.Values)), _dtype);
        var map = new JsonObject(all.Select(tensor => KeyValuePair.Create(tensor.Key, (JsonNode?)tensor.File)));
        File.WriteAllText(Path.Combine(Folder, "model.safetensors.index.json"), new JsonObject { ["weight_map"] = map }.ToJsonString());
    }
}
