using System.Runtime.InteropServices;
using System.Text.Json.Nodes;

namespace KernelForge.Tests;

/// <summary>
/// Quantised weights as other tools store them, written from the descriptions of the formats, one code after the other. What the readers are judged by, so
/// nothing of them is used here.
/// </summary>
internal static class StoredWeights
{
    private static readonly int[] AwqOrder = [0, 2, 4, 6, 1, 3, 5, 7];

    /// <summary>The tensors of a module; scales must be F16 values.</summary>
    public static List<NamedTensor> Tensors(QuantizationMethod method, string module, QuantizedMatrix matrix) => method switch
    {
        QuantizationMethod.Gptq => Gptq(module, matrix, less: 1),
        QuantizationMethod.GptqV2 => Gptq(module, matrix, less: 0),
        QuantizationMethod.Awq => Awq(module, matrix),
        _ => CompressedTensors(module, matrix),
    };

    /// <summary>What config.json says of them.</summary>
    public static JsonObject Config(QuantizationMethod method, WeightFormat format)
    {
        int group = format.GroupSize == 0 ? -1 : format.GroupSize;
        return method switch
        {
            QuantizationMethod.Gptq => new() { ["quant_method"] = "gptq", ["bits"] = format.Bits, ["group_size"] = group, ["sym"] = !format.HasZeroPoints, ["desc_act"] = true },
            QuantizationMethod.GptqV2 => new()
            {
                ["quant_method"] = "gptq", ["bits"] = format.Bits, ["group_size"] = group, ["sym"] = !format.HasZeroPoints, ["checkpoint_format"] = "gptq_v2", ["lm_head"] = false,
                ["dynamic"] = new JsonObject { ["-:lm_head"] = new JsonObject() },
            },
            QuantizationMethod.Awq => new() { ["quant_method"] = "awq", ["bits"] = 4, ["group_size"] = group, ["zero_point"] = true, ["version"] = "GEMM", ["modules_to_not_convert"] = null },
            _ => JsonNode.Parse($$$"""
                {"quant_method":"compressed-tensors","format":"pack-quantized","ignore":["lm_head"],"kv_cache_scheme":null,"config_groups":{"group_0":{"targets":["Linear"],
                "input_activations":null,"output_activations":null,"weights":{"num_bits":{{{format.Bits}}},"type":"int","symmetric":{{{(format.HasZeroPoints ? "false" : "true")}}},
                "strategy":"{{{(group == -1 ? "channel" : "group")}}}","group_size":{{{(group == -1 ? "null" : $"{group}")}}},"actorder":null} } } }
                """)!.AsObject(),
        };
    }

    private static List<NamedTensor> Gptq(string module, QuantizedMatrix matrix, int less)
    {
        (int n, int k, int bits, int groups) = (matrix.N, matrix.K, matrix.Format.Bits, matrix.Format.Groups(matrix.K));
        int perWord = 32 / bits, max = matrix.Format.MaxCode;
        var codes = new uint[k / perWord, n];
        var zeros = new uint[groups, n / perWord];
        var scales = new Half[groups, n];
        for (int output = 0; output < n; output++)
        {
            for (int j = 0; j < k; j++)
            {
                int input = matrix.Order is null ? j : matrix.Order[j];
                codes[input / perWord, output] |= (uint)matrix.Codes[output * k + j] << input % perWord * bits;
            }
            for (int group = 0; group < groups; group++)
            {
                scales[group, output] = (Half)matrix.Scales[output * groups + group];
                zeros[group, output / perWord] |= (uint)((matrix.Zero(output, group) - less) & max) << output % perWord * bits;
            }
        }
        return
        [
            new(module + ".qweight", "I32", [k / perWord, n], Bytes(codes)), new(module + ".qzeros", "I32", [groups, n / perWord], Bytes(zeros)),
            new(module + ".scales", "F16", [groups, n], Bytes(scales)), new(module + ".g_idx", "I32", [k], Bytes(GroupOfInput(matrix))),
        ];
    }

    private static List<NamedTensor> Awq(string module, QuantizedMatrix matrix)
    {
        (int n, int k, int groups) = (matrix.N, matrix.K, matrix.Format.Groups(matrix.K));
        var codes = new uint[k, n / 8];
        var zeros = new uint[groups, n / 8];
        var scales = new Half[groups, n];
        for (int word = 0; word < n / 8; word++)
            for (int i = 0; i < 8; i++)
            {
                int output = 8 * word + AwqOrder[i];
                for (int j = 0; j < k; j++) codes[j, word] |= (uint)matrix.Codes[output * k + j] << 4 * i;
                for (int group = 0; group < groups; group++)
                {
                    zeros[group, word] |= (uint)matrix.Zero(output, group) << 4 * i;
                    scales[group, output] = (Half)matrix.Scales[output * groups + group];
                }
            }
        return
        [
            new(module + ".qweight", "I32", [k, n / 8], Bytes(codes)), new(module + ".qzeros", "I32", [groups, n / 8], Bytes(zeros)),
            new(module + ".scales", "F16", [groups, n], Bytes(scales)),
        ];
    }

    private static List<NamedTensor> CompressedTensors(string module, QuantizedMatrix matrix)
    {
        (int n, int k, int bits, int groups) = (matrix.N, matrix.K, matrix.Format.Bits, matrix.Format.Groups(matrix.K));
        int perWord = 32 / bits;
        var codes = new uint[n, (k + perWord - 1) / perWord];
        var zeros = new uint[(n + perWord - 1) / perWord, groups];
        for (int output = 0; output < n; output++)
        {
            for (int j = 0; j < k; j++)
            {
                int input = matrix.Order is null ? j : matrix.Order[j];
                codes[output, input / perWord] |= (uint)matrix.Codes[output * k + j] << input % perWord * bits;
            }
            for (int group = 0; group < groups; group++) zeros[output / perWord, group] |= (uint)matrix.Zero(output, group) << output % perWord * bits;
        }
        Half[] scales = [.. matrix.Scales.Select(scale => (Half)scale)];
        List<NamedTensor> tensors =
        [
            new(module + ".weight_packed", "I32", [n, codes.GetLength(1)], Bytes(codes)), new(module + ".weight_scale", "F16", [n, groups], Bytes(scales)),
            new(module + ".weight_shape", "I64", [2], Bytes(new long[] { n, k })),
        ];
        if (matrix.Zeros is not null) tensors.Add(new(module + ".weight_zero_point", "I32", [zeros.GetLength(0), groups], Bytes(zeros)));
        if (matrix.Order is not null) tensors.Add(new(module + ".weight_g_idx", "I32", [k], Bytes(GroupOfInput(matrix))));
        return tensors;
    }

    private static int[] GroupOfInput(QuantizedMatrix matrix)
    {
        int size = matrix.Format.GroupSize == 0 ? matrix.K : matrix.Format.GroupSize;
        var groups = new int[matrix.K];
        for (int j = 0; j < groups.Length; j++) groups[matrix.Order is null ? j : matrix.Order[j]] = j / size;
        return groups;
    }

    private static byte[] Bytes(Array values)
    {
        var bytes = new byte[values.Length * Marshal.SizeOf(values.GetType().GetElementType()!)];
        MemoryMarshal.CreateReadOnlySpan(ref MemoryMarshal.GetArrayDataReference(values), bytes.Length).CopyTo(bytes);
        return bytes;
    }
}
