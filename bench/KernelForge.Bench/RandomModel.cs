using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json.Nodes;
using CommunityToolkit.HighPerformance;
using KernelForge.Inference;

namespace KernelForge.Bench;

/// <summary>Shape of a Llama model with tied embeddings.</summary>
public sealed record ModelShape(string Name, int Hidden, int Layers, int QueryHeads, int KvHeads, int Mlp, int Vocabulary)
{
    /// <summary>110 M parameters.</summary>
    public static ModelShape Small { get; } = new("110M", 768, 12, 12, 12, 2048, 32_000);

    public override string ToString() => Name;

    /// <summary>Weights.</summary>
    public long Parameters => (long)Vocabulary * Hidden + Layers * (2L * Hidden * Hidden + 2L * Hidden * KvHeads * (Hidden / QueryHeads) + 3L * Hidden * Mlp);
}

/// <summary>
/// A model of random weights as a Hugging Face folder in the temporary directory, without a tokenizer: it costs what a trained one does. Weights are BF16, or
/// quantised by rounding and stored in the form of compressed-tensors; then the output head is quantised too and apart from the embeddings.
/// </summary>
internal sealed class RandomModel : IDisposable
{
    private readonly Random _random = new(7);

    public RandomModel(ModelShape shape, WeightFormat? format = null)
    {
        File.WriteAllText(Path.Combine(Folder, "config.json"), Config(shape, format).ToJsonString());
        Write([.. Tensors(shape, format is not null).SelectMany(tensor => Stored(tensor.Name, tensor.Shape, format))]);
    }

    public string Folder { get; } = Directory.CreateTempSubdirectory("kf-random-").FullName;

    public void Dispose() => Directory.Delete(Folder, recursive: true);

    private static JsonObject Config(ModelShape shape, WeightFormat? format)
    {
        JsonObject config = Config(shape, isTied: format is null);
        if (format is { } stored) config["quantization_config"] = CompressedTensorsWriter.Config(stored, []);
        return config;
    }

    private static JsonObject Config(ModelShape shape, bool isTied) => new()
    {
        ["architectures"] = new JsonArray("LlamaForCausalLM"),
        ["hidden_size"] = shape.Hidden,
        ["intermediate_size"] = shape.Mlp,
        ["num_hidden_layers"] = shape.Layers,
        ["num_attention_heads"] = shape.QueryHeads,
        ["num_key_value_heads"] = shape.KvHeads,
        ["vocab_size"] = shape.Vocabulary,
        ["max_position_embeddings"] = 8192,
        ["rms_norm_eps"] = 1e-5,
        ["rope_theta"] = 10_000.0,
        ["hidden_act"] = "silu",
        ["eos_token_id"] = 1,
        ["tie_word_embeddings"] = isTied,
    };

    private static IEnumerable<(string Name, int[] Shape)> Tensors(ModelShape shape, bool hasHead)
    {
        int kv = shape.KvHeads * (shape.Hidden / shape.QueryHeads);
        yield return ("model.embed_tokens.weight", [shape.Vocabulary, shape.Hidden]);
        if (hasHead) yield return ("lm_head.weight", [shape.Vocabulary, shape.Hidden]);
        yield return ("model.norm.weight", [shape.Hidden]);
        for (int layer = 0; layer < shape.Layers; layer++)
        {
            string name = $"model.layers.{layer}.";
            yield return (name + "input_layernorm.weight", [shape.Hidden]);
            yield return (name + "post_attention_layernorm.weight", [shape.Hidden]);
            yield return (name + "self_attn.q_proj.weight", [shape.Hidden, shape.Hidden]);
            yield return (name + "self_attn.k_proj.weight", [kv, shape.Hidden]);
            yield return (name + "self_attn.v_proj.weight", [kv, shape.Hidden]);
            yield return (name + "self_attn.o_proj.weight", [shape.Hidden, shape.Hidden]);
            yield return (name + "mlp.gate_proj.weight", [shape.Mlp, shape.Hidden]);
            yield return (name + "mlp.up_proj.weight", [shape.Mlp, shape.Hidden]);
            yield return (name + "mlp.down_proj.weight", [shape.Hidden, shape.Mlp]);
        }
    }

    /// <summary>A tensor as it is stored: norms are 1, quantised are the linear layers.</summary>
    private IReadOnlyList<NamedTensor> Stored(string name, int[] shape, WeightFormat? format)
    {
        bool isNorm = shape.Length == 1;
        float range = isNorm ? 0 : 1 / MathF.Sqrt(shape[1]);
        var values = new BFloat16[shape.Aggregate(1, (a, b) => a * b)];
        for (int i = 0; i < values.Length; i++) values[i] = (BFloat16)(isNorm ? 1 : range * (2 * _random.NextSingle() - 1));
        if (format is null || isNorm || name.Contains("embed_tokens", StringComparison.Ordinal))
            return [new NamedTensor(name, "BF16", [.. shape.Select(size => (long)size)], MemoryMarshal.AsBytes(values.AsSpan()).ToArray())];

        var weights = new ReadOnlySpan2D<BFloat16>(values, shape[0], shape[1]);
        return CompressedTensorsWriter.Tensors(name[..^".weight".Length], QuantizedMatrix.Round(weights, format.Value, DType.BF16), DType.BF16);
    }

    private void Write(List<NamedTensor> tensors)
    {
        var header = new JsonObject();
        long end = 0;
        foreach (NamedTensor tensor in tensors)
        {
            long start = end;
            end += tensor.Bytes.Length;
            header[tensor.Name] = new JsonObject
            {
                ["dtype"] = tensor.Type,
                ["shape"] = new JsonArray([.. tensor.Shape.Select(d => JsonValue.Create(d))]),
                ["data_offsets"] = new JsonArray(start, end),
            };
        }

        byte[] text = Encoding.UTF8.GetBytes(header.ToJsonString()), length = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)text.Length);
        using FileStream file = File.Create(Path.Combine(Folder, "model.safetensors"));
        file.Write([.. length, .. text]);
        foreach (NamedTensor tensor in tensors) file.Write(tensor.Bytes.Span);
    }
}
