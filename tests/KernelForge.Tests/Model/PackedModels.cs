namespace KernelForge.Tests;

/// <summary>What packing does with the tensors of a tiny model.</summary>
internal static class PackedModels
{
    /// <summary>Bytes of the tensors that the CPU maps although weights are packed: embeddings, norms, biases.</summary>
    public static long MappedBytes(TinyModel tiny)
    {
        using var checkpoint = new Checkpoint(tiny.Folder);
        return checkpoint.Names.Where(name => name != "lm_head.weight" && (name.EndsWith(".bias", StringComparison.Ordinal) || !name.Contains("_proj.", StringComparison.Ordinal)))
            .Sum(name => checkpoint.Find(name).Tensor.Length);
    }
}
