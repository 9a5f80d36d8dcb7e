namespace KernelForge.Inference;

/// <summary>
/// Writes a model's weights in the order of the CPU, once for all later loads: they map the file, and nothing is packed or copied. See <see
/// cref="EngineOptions.PackedFile"/>.
/// </summary>
public static class ModelPacker
{
    /// <summary>Name that is looked for in a model's folder.</summary>
    public const string FileName = PackedFile.FileName;

    /// <summary>Packs a model. It takes the memory of its weights, and as much on the disk.</summary>
    /// <param name="folder">The model, dense or quantised.</param>
    /// <param name="output">The file to write, or a folder for <see cref="FileName"/>; null for the model's own. Whoever has mapped a file that is replaced
    /// keeps the old one.</param>
    /// <param name="computeType">Type of the activations that the weights are for, as in <see cref="EngineOptions.ComputeType"/>; null for F32, which takes
    /// weights as they are stored.</param>
    /// <param name="device">A CPU device that packs; <see cref="Device.Cpu"/> when null.</param>
    /// <param name="progress">Told the share that is done, from 0 to 1.</param>
    /// <param name="cancellationToken">Ends the work between two pieces; nothing is left then.</param>
    /// <returns>The file and its size in bytes.</returns>
    /// <exception cref="ModelFormatException">The folder cannot be used; says why.</exception>
    /// <exception cref="ArgumentException">The device is no CPU.</exception>
    /// <exception cref="IOException">The file cannot be written.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public static FileInfo Write(
        string folder, string? output = null, DType? computeType = null, Device? device = null, IProgress<double>? progress = null, CancellationToken cancellationToken = default)
    {
        device ??= Device.Cpu;
        if (!DenseWeights.IsFor(device)) throw new ArgumentException($"ModelPacker: {device.Name} has weights in another order, expected a CPU device.", nameof(device));
        string path = output is null ? Path.Combine(folder, FileName) : Directory.Exists(output) ? Path.Combine(output, FileName) : output;
        ModelConfig config = ModelConfig.Load(folder);
        using var source = new Checkpoint(folder);
        EngineOptions options = new EngineOptions { ComputeType = computeType, PackedFile = "" }.For(device, config, source);
        using Transformer model = Transformer.Load(device, config, new Checkpoint(folder), options, Half(progress, 0), cancellationToken);
        PackedFile.Write(path, source, model.Packed, Half(progress, 0.5), cancellationToken);
        return new FileInfo(path);
    }

    /// <summary>Why the packed file in a checkpoint's folder does not fit it; null where it does, or there is none.</summary>
    /// <param name="checkpoint">Of the model.</param>
    /// <param name="computeType">Type of the activations.</param>
    public static string? ComplaintOf(Checkpoint checkpoint, DType computeType)
    {
        ArgumentNullException.ThrowIfNull(checkpoint);
        (PackedFile? file, string? complaint) = PackedFile.Find(null, checkpoint, computeType);
        file?.Dispose();
        return complaint;
    }

    private static Part? Half(IProgress<double>? whole, double start) => whole is null ? null : new Part(whole, start);

    private sealed class Part(IProgress<double> whole, double start) : IProgress<double>
    {
        public void Report(double value) => whole.Report(start + value / 2);
    }
}
