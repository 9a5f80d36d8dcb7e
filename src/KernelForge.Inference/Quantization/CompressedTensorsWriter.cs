using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;

namespace KernelForge.Inference;

/// <summary>A tensor to be written.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Type">Element type as safetensors names it, such as I32.</param>
/// <param name="Shape">Dimensions, outermost first.</param>
/// <param name="Bytes">Elements, little endian.</param>
public sealed record NamedTensor(string Name, string Type, IReadOnlyList<long> Shape, ReadOnlyMemory<byte> Bytes);

/// <summary>Quantised weights as compressed-tensors stores them in format "pack-quantized"; <see cref="CompressedTensorsReader"/> says how, and reads them.</summary>
public static class CompressedTensorsWriter
{
    /// <summary>The tensors of one module.</summary>
    /// <param name="module">Its name, as model.layers.0.mlp.down_proj.</param>
    /// <param name="matrix">Its weights.</param>
    /// <param name="scaleType">Type of the stored scales, which must hold them exactly.</param>
    /// <exception cref="ArgumentException">A scale is not a value of that type.</exception>
    public static IReadOnlyList<NamedTensor> Tensors(string module, QuantizedMatrix matrix, DType scaleType)
    {
        ArgumentNullException.ThrowIfNull(matrix);
        (int n, int k, WeightFormat format) = (matrix.N, matrix.K, matrix.Format);
        int perWord = 32 / format.Bits, groups = format.Groups(k), words = (k + perWord - 1) / perWord, zeroWords = (n + perWord - 1) / perWord;
        var shape = new byte[2 * sizeof(long)];
        BinaryPrimitives.WriteInt64LittleEndian(shape, n);
        BinaryPrimitives.WriteInt64LittleEndian(shape.AsSpan(sizeof(long)), k);
        List<NamedTensor> tensors =
        [
            new(module + ".weight_packed", "I32", [n, words], Codes(matrix, words)),
            new(module + ".weight_scale", scaleType.ToString(), [n, groups], Scales(matrix.Scales, scaleType)),
            new(module + ".weight_shape", "I64", [2], shape),
        ];
        if (matrix.Zeros is not null) tensors.Add(new(module + ".weight_zero_point", "I32", [zeroWords, groups], Zeros(matrix, zeroWords, groups)));
        if (matrix.Order is not null && format.GroupSize != 0) tensors.Add(new(module + ".weight_g_idx", "I32", [k], GroupOfInput(matrix.Order, format.GroupSize)));
        return tensors;
    }

    /// <summary>The quantization_config of a model of which all linear layers but some are so quantised.</summary>
    /// <param name="format">What codes mean.</param>
    /// <param name="ignored">Modules that are not quantised, as lm_head.</param>
    /// <param name="hasOrder">Whether weights may be stored in activation order.</param>
    public static JsonObject Config(WeightFormat format, IEnumerable<string> ignored, bool hasOrder = false) => new()
    {
        ["quant_method"] = "compressed-tensors",
        ["format"] = "pack-quantized",
        ["quantization_status"] = "compressed",
        ["ignore"] = new JsonArray([.. ignored.Select(name => JsonValue.Create(name))]),
        ["kv_cache_scheme"] = null,
        ["config_groups"] = new JsonObject
        {
            ["group_0"] = new JsonObject
            {
                ["targets"] = new JsonArray("Linear"),
                ["input_activations"] = null,
                ["output_activations"] = null,
                ["weights"] = new JsonObject
                {
                    ["num_bits"] = format.Bits,
                    ["type"] = "int",
                    ["symmetric"] = !format.HasZeroPoints,
                    ["strategy"] = format.GroupSize == 0 ? "channel" : "group",
                    ["group_size"] = format.GroupSize == 0 ? null : format.GroupSize,
                    ["actorder"] = hasOrder ? "group" : null,
                    ["dynamic"] = false,
                },
            },
        },
    };

    /// <summary>Words of codes along the inputs, in the order of the inputs.</summary>
    private static byte[] Codes(QuantizedMatrix matrix, int words)
    {
        int bits = matrix.Format.Bits, perWord = 32 / bits, k = matrix.K;
        var bytes = new byte[checked((long)matrix.N * words * sizeof(uint))];
        Parallel.For(0, matrix.N, output =>
        {
            Span<byte> row = bytes.AsSpan(output * words * sizeof(uint), words * sizeof(uint));
            for (int j = 0; j < k; j++)
            {
                int input = matrix.Order is null ? j : matrix.Order[j];
                row[input * bits / 8] |= (byte)(matrix.Codes[output * k + j] << input * bits % 8);
            }
        });
        return bytes;
    }

    private static byte[] Scales(float[] scales, DType type)
    {
        byte[] wide = MemoryMarshal.AsBytes(scales.AsSpan()).ToArray();
        byte[] stored = new byte[scales.Length * type.Size()], again = new byte[wide.Length];
        DTypes.Convert(wide, DType.F32, stored, type);
        DTypes.Convert(stored, type, again, DType.F32);
        if (!again.AsSpan().SequenceEqual(wide)) throw new ArgumentException($"CompressedTensorsWriter: scales are not values of {type}, expected them rounded before codes were chosen");
        return stored;
    }

    /// <summary>Words of zero points along the outputs.</summary>
    private static byte[] Zeros(QuantizedMatrix matrix, int words, int groups)
    {
        int bits = matrix.Format.Bits, perWord = 32 / bits;
        var packed = new uint[words * groups];
        for (int output = 0; output < matrix.N; output++)
            for (int group = 0; group < groups; group++)
                packed[output / perWord * groups + group] |= (uint)matrix.Zero(output, group) << bits * (output % perWord);
        return MemoryMarshal.AsBytes(packed.AsSpan()).ToArray();
    }

    private static byte[] GroupOfInput(int[] order, int groupSize)
    {
        var groups = new int[order.Length];
        for (int j = 0; j < order.Length; j++) groups[order[j]] = j / groupSize;
        return MemoryMarshal.AsBytes(groups.AsSpan()).ToArray();
    }
}
