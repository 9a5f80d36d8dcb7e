using System.Buffers.Binary;
using System.Text;
using System.Text.Json.Nodes;

namespace KernelForge.Bench;

/// <summary>Shape of a Llama model with tied embeddings.</summary>
public sealed record ModelShape(string Name, int Hidden, int Layers, int QueryHeads, int KvHeads, int Mlp, int Vocabulary)
{
    public override string ToString() => Name;

    /// <summary>Weights.</summary>
    public long Parameters => (long)Vocabulary * Hidden + Layers * (2L * Hidden * Hidden + 2L * Hidden * KvHeads * (Hidden / QueryHeads) + 3L * Hidden * Mlp);
}

/// <summary>A model of random BF16 weights as a Hugging Face folder in the temporary directory, without a tokenizer: it costs what a trained one does.</summary>
internal sealed class RandomModel : IDisposable
{
    public RandomModel(ModelShape shape)
    {
        File.WriteAllText(Path.Combine(Folder, "config.json"), Config(shape).ToJsonString());
        WriteWeights(shape);
    }

    public string Folder { get; } = Directory.CreateTempSubdirectory("kf-random-").FullName;

    public void Dispose() => Directory.Delete(Folder, recursive: true);

    private static JsonObject Config(ModelShape shape) => new()
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
        ["tie_word_embeddings"] = true,
    };

    private static IEnumerable<(string Name, int[] Shape)> Tensors(ModelShape shape)
    {
        int kv = shape.KvHeads * (shape.Hidden / shape.QueryHeads);
        yield return ("model.embed_tokens.weight", [shape.Vocabulary, shape.Hidden]);
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

    private void WriteWeights(ModelShape shape)
    {
        var header = new JsonObject();
        long end = 0;
        foreach ((string name, int[] dimensions) in Tensors(shape))
        {
            long start = end;
            end += 2L * dimensions.Aggregate(1, (a, b) => a * b);
            header[name] = new JsonObject
            {
                ["dtype"] = "BF16",
                ["shape"] = new JsonArray([.. dimensions.Select(d => JsonValue.Create(d))]),
                ["data_offsets"] = new JsonArray(start, end),
            };
        }

        byte[] text = Encoding.UTF8.GetBytes(header.ToJsonString()), length = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)text.Length);
        using FileStream file = File.Create(Path.Combine(Folder, "model.safetensors"));
        file.Write([.. length, .. text]);
        var random = new Random(7);
        foreach ((string _, int[] dimensions) in Tensors(shape))
        {
            bool isNorm = dimensions.Length == 1;
            float range = isNorm ? 0 : 1 / MathF.Sqrt(dimensions[1]);
            var row = new byte[2 * dimensions[^1]];
            for (int r = 0; r < (isNorm ? 1 : dimensions[0]); r++)
            {
                for (int i = 0; i < dimensions[^1]; i++)
                {
                    float value = isNorm ? 1 : range * (2 * random.NextSingle() - 1);
                    BinaryPrimitives.WriteUInt16LittleEndian(row.AsSpan(2 * i), (ushort)(BitConverter.SingleToUInt32Bits(value) >> 16));
                }
                file.Write(row);
            }
        }
    }
}
