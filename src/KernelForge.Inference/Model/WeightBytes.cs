namespace KernelForge.Inference;

/// <summary>Memory that a model's weights take on a device, packed or mapped.</summary>
internal static class WeightBytes
{
    /// <summary>Bytes of all tensors as <see cref="ModelWeights"/> has them under options that name the type.</summary>
    public static long Of(Device device, ModelConfig config, Checkpoint checkpoint, EngineOptions options)
    {
        DType type = options.ComputeType!.Value;
        long bytes = checkpoint.BytesAs(type, config.Quantization);
        if (!ArePacked(device, options)) return bytes;
        for (int layer = 0; layer < config.Layers; layer++)
            foreach (LinearMap map in LinearMap.Of(config, layer)) bytes += PaddingOf(map.Weight, map.Outputs, map.Inputs);
        if (config.TiedEmbeddings) bytes += PackedBytes("model.embed_tokens.weight", config.VocabularySize, config.HiddenSize); // beside the table
        else bytes += PaddingOf("lm_head.weight", config.VocabularySize, config.HiddenSize);
        return bytes;

        long PaddingOf(string tensor, int outputs, int inputs) =>
            checkpoint.Contains(tensor) ? PackedBytes(tensor, outputs, inputs) - (long)outputs * inputs * TypeOf(tensor).Size() : 0;

        long PackedBytes(string tensor, int outputs, int inputs) => DenseWeights.SizeOf(TypeOf(tensor), outputs, inputs);

        DType TypeOf(string tensor) => type == DType.F32 ? checkpoint.TypeOf(tensor) : type;
    }

    /// <summary>Whether dense weights of linear layers are packed.</summary>
    public static bool ArePacked(Device device, EngineOptions options) => options.PackWeights && DenseWeights.IsFor(device);
}
