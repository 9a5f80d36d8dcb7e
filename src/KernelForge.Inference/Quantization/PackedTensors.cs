using System.Runtime.InteropServices;

namespace KernelForge.Inference;

/// <summary>The tensors of one quantised module in a checkpoint: those that hold words of codes, scales and indices, each of the shape that it must have.</summary>
/// <param name="checkpoint">Where they are.</param>
/// <param name="module">The module's name, as model.layers.0.mlp.down_proj.</param>
/// <param name="n">Outputs.</param>
/// <param name="k">Inputs.</param>
/// <param name="device">Where codes shall be.</param>
/// <param name="cancellation">Looked at before every piece of them.</param>
internal sealed class PackedTensors(Checkpoint checkpoint, string module, int n, int k, Device device, CancellationToken cancellation)
{
    private const int PieceBytes = 8 << 20;

    public int N => n;

    public int K => k;

    public bool Contains(string suffix) => checkpoint.Contains(module + suffix);

    /// <summary>A tensor of 32-bit words.</summary>
    /// <exception cref="ModelFormatException">There is none, or it has another shape or type.</exception>
    public PackedWords Words(string suffix, int rows, int columns)
    {
        (SafetensorsFile file, SafetensorsEntry tensor) = checkpoint.Find(module + suffix, "I32", rows, columns);
        return new PackedWords(file, tensor, columns);
    }

    /// <summary>Refuses a tensor that holds another shape than this module's, where there is one.</summary>
    public void RequireShape(string suffix)
    {
        if (!Contains(suffix)) return;
        (SafetensorsFile file, SafetensorsEntry tensor) = checkpoint.Find(module + suffix);
        ReadOnlySpan<byte> bytes = file.Bytes(tensor, 0, (int)Math.Min(tensor.Length, 2 * sizeof(long)));
        long[] shape = tensor.Type switch
        {
            "I64" => MemoryMarshal.Cast<byte, long>(bytes).ToArray(),
            "I32" => [.. MemoryMarshal.Cast<byte, int>(bytes).ToArray()],
            _ => throw Invalid($"{suffix[1..]} is {tensor.Type}, expected I64 or I32"),
        };
        if (!shape.AsSpan().SequenceEqual([n, k])) throw Invalid($"{suffix[1..]} is [{string.Join(", ", shape)}], expected [{n}, {k}]");
    }

    /// <summary>A tensor of any float type, widened, row after row.</summary>
    /// <exception cref="ModelFormatException">There is none, or it has another shape or type.</exception>
    public float[] Floats(string suffix, int rows, int columns)
    {
        CheckpointTensor tensor = checkpoint.Find(module + suffix, rows, columns);
        var values = new float[tensor.Elements];
        DTypes.Convert(tensor.Bytes(0, values.Length), tensor.Type, MemoryMarshal.AsBytes(values.AsSpan()), DType.F32);
        return values;
    }

    /// <summary>
    /// The order in which weights are stored when <see cref="QuantizationConfig.OrderSuffix"/>, the group of each input, is there and scatters them: inputs by group, within a
    /// group as they come. Null where groups are runs of inputs.
    /// </summary>
    /// <exception cref="ModelFormatException">There must be an order and there is none, a group does not exist or has not as many inputs as it must have.</exception>
    public int[]? Order(QuantizationConfig config)
    {
        (string suffix, int groupSize) = (config.OrderSuffix, config.Format.GroupSize);
        if (groupSize == 0) return null;
        if (!Contains(suffix)) return config.HasOrder ? throw Invalid($"quantization_config says desc_act and {suffix[1..]} is missing") : null;
        (SafetensorsFile file, SafetensorsEntry tensor) = checkpoint.Find(module + suffix, "I32", 1, k);
        int[] groups = MemoryMarshal.Cast<byte, int>(file.Bytes(tensor, 0, k * sizeof(int))).ToArray();
        if (groups.AsSpan().IndexOfAnyExcept(-1) < 0) return null; // compressed-tensors: not set
        var inputs = new int[k / groupSize];
        foreach (int group in groups)
            if ((uint)group >= (uint)inputs.Length) throw Invalid($"{suffix[1..]} names group {group}, expected 0 to {inputs.Length - 1}");
            else inputs[group]++;
        int odd = inputs.AsSpan().IndexOfAnyExcept(groupSize);
        if (odd >= 0) throw Invalid($"{suffix[1..]} gives group {odd} {inputs[odd]} inputs, expected {groupSize}");
        int[] order = [.. Enumerable.Range(0, k).OrderBy(input => groups[input])];
        return order.AsSpan().SequenceEqual(Enumerable.Range(0, k).ToArray()) ? null : order;
    }

    public ModelFormatException Invalid(string what, Exception? inner = null)
    {
        string message = $"{checkpoint.Folder}: the quantised weights of {module} cannot be read: {what}.";
        return inner is null ? new(message) : new(message, inner);
    }

    /// <summary>Puts the parts together, codes on the device; what they do not allow becomes a complaint about the checkpoint.</summary>
    public WordMatrix Matrix(in WeightFormat format, WordOrder wordOrder, string codesSuffix, float[] scales, byte[]? zeros, int[]? order)
    {
        (int rows, int columns) = ShapeOf(format, wordOrder);
        (SafetensorsFile file, SafetensorsEntry tensor) = checkpoint.Find(module + codesSuffix, "I32", rows, columns);
        try
        {
            return new WordMatrix(format, n, k, wordOrder, device.IsCpu ? file.Map(device, tensor, DType.I32) : Upload(file, tensor), scales, zeros, order);
        }
        catch (ArgumentException error)
        {
            throw Invalid(error.Message, error);
        }
    }

    /// <summary>Refuses lengths that the group size or whole words do not divide, before anything is sized by them.</summary>
    public (int Rows, int Columns) ShapeOf(in WeightFormat format, WordOrder wordOrder)
    {
        try
        {
            return WordMatrix.ShapeOf(format, n, k, wordOrder);
        }
        catch (ArgumentException error)
        {
            throw Invalid(error.Message, error);
        }
    }

    /// <summary>[groups, n] as [n, groups].</summary>
    public static T[] Transposed<T>(ReadOnlySpan<T> values, int groups, int n)
    {
        var result = new T[values.Length];
        for (int group = 0; group < groups; group++)
            for (int i = 0; i < n; i++) result[i * groups + group] = values[group * n + i];
        return result;
    }

    private DeviceBuffer Upload(SafetensorsFile file, SafetensorsEntry tensor)
    {
        DeviceBuffer words = device.Allocate(DType.I32, tensor.Length / sizeof(int));
        try
        {
            for (long start = 0; start < tensor.Length; start += PieceBytes)
            {
                cancellation.ThrowIfCancellationRequested();
                words.CopyFrom(file.Bytes(tensor, start, (int)Math.Min(PieceBytes, tensor.Length - start)), start);
            }
            return words;
        }
        catch
        {
            words.Dispose();
            throw;
        }
    }
}

/// <summary>A tensor of 32-bit words in a mapped file.</summary>
internal sealed class PackedWords(SafetensorsFile file, SafetensorsEntry tensor, int columns)
{
    public ReadOnlySpan<uint> Row(int row) => MemoryMarshal.Cast<byte, uint>(file.Bytes(tensor, (long)row * columns * sizeof(uint), columns * sizeof(uint)));
}
