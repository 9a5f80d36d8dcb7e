using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using CommunityToolkit.HighPerformance;
using KernelForge.Inference;

namespace KernelForge.Bench;

/// <summary>
/// A model folder again with other weights: in BF16, or its linear layers rounded to codes, the output head too, as in the peers' 4-bit files.
/// (<c>kf quantize</c> leaves the head as it is.)
/// </summary>
internal static class PeerWeights
{
    private const string WeightSuffix = ".weight", WeightFile = "model.safetensors", ConfigFile = "config.json", Embeddings = "model.embed_tokens";

    /// <summary>Writes the folder. Returns the exit code.</summary>
    /// <param name="model">Folder with weights in F16 or BF16.</param>
    /// <param name="output">A new folder.</param>
    /// <param name="format">bf16, or a <see cref="WeightFormat"/> such as w4g128.</param>
    public static int Write(string model, string output, string format)
    {
        WeightFormat? codes = format == "bf16" ? null : WeightFormat.Parse(format);
        Directory.CreateDirectory(output);
        using (var checkpoint = new Checkpoint(model))
        {
            List<NamedTensor> tensors = [.. checkpoint.Names.SelectMany(name => Stored(checkpoint, name, codes))];
            var entries = tensors.Select(tensor => new SafetensorsTensor(tensor.Name, tensor.Type, tensor.Shape, tensor.Bytes.Length));
            using var writer = new SafetensorsWriter(Path.Combine(output, WeightFile), [.. entries]);
            foreach (NamedTensor tensor in tensors) writer.Write(tensor.Bytes.Span);
            writer.Complete();
        }
        foreach (string file in Directory.EnumerateFiles(model, "*.json")) File.Copy(file, Path.Combine(output, Path.GetFileName(file)), overwrite: true);
        if (codes is { } stored) AddQuantization(Path.Combine(output, ConfigFile), stored);
        return 0;
    }

    private static IReadOnlyList<NamedTensor> Stored(Checkpoint checkpoint, string name, WeightFormat? codes)
    {
        (SafetensorsFile file, SafetensorsEntry entry) = checkpoint.Find(name);
        int length = checked((int)(entry.Length / sizeof(ushort)));
        byte[] wide = new byte[(long)length * sizeof(float)];
        DTypes.Convert(file.Bytes(entry, 0, (int)entry.Length), file.TypeOf(entry), wide, DType.F32);
        if (codes is not { } format || entry.Shape.Count == 1 || name == Embeddings + WeightSuffix)
        {
            byte[] narrow = new byte[(long)length * sizeof(ushort)];
            DTypes.Convert(wide, DType.F32, narrow, DType.BF16);
            return [new NamedTensor(name, "BF16", entry.Shape, narrow)];
        }
        var weights = new ReadOnlyMemory2D<float>(MemoryMarshal.Cast<byte, float>(wide).ToArray(), (int)entry.Shape[0], (int)entry.Shape[1]);
        return CompressedTensorsWriter.Tensors(name[..^WeightSuffix.Length], QuantizedMatrix.Round(weights.Span, format, DType.BF16), DType.BF16);
    }

    private static void AddQuantization(string path, WeightFormat format)
    {
        JsonNode config = JsonNode.Parse(File.ReadAllBytes(path))!;
        config["quantization_config"] = CompressedTensorsWriter.Config(format, []);
        File.WriteAllText(path, config.ToJsonString());
    }
}
