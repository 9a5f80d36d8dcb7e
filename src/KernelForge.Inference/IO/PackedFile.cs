using System.Globalization;

namespace KernelForge.Inference;

/// <summary>
/// A model's weights in the order in which the CPU's products read them, in a file beside the checkpoint. It is mapped and used in place: nothing is packed and
/// nothing copied when the model is loaded, and processes share its pages. Embeddings, norms and biases stay in the checkpoint.
/// </summary>
/// <remarks>
/// A safetensors file. Dense weights have the name and type of their tensor and the shape [lines, weights of a line of 64 bytes]; quantised ones the name of
/// their module and bytes, and behind all of them <c>.header</c>, a <see cref="PackedHeader"/>. Gate and up projection in one are named after the gate, with
/// <c>.gated</c> behind it. The metadata says which files the weights were made of: names, sizes and times of the last change.
/// </remarks>
internal sealed class PackedFile : IDisposable
{
    /// <summary>Name in the folder of its model.</summary>
    public const string FileName = "model.kfpack";

    private const string HeaderSuffix = ".header", GatedSuffix = ".gated", VersionKey = "kernelforge_pack", LayoutKey = "layout", SourceKey = "source", Bytes = "U8";
    private const string Remedy = "kf pack makes a new one";
    private const int Version = 1, HeaderBytes = 48, LineBytes = 64, PieceBytes = 8 << 20;

    private readonly SafetensorsFile _file;

    private PackedFile(SafetensorsFile file) => _file = file;

    /// <summary>Path of the file.</summary>
    public string Path => _file.Path;

    /// <summary>Name of gate and up projection in one.</summary>
    public static string Gated(string gate) => gate + GatedSuffix;

    /// <summary>
    /// The file that was asked for, which must fit; for null the one in the checkpoint's folder, or why it is not used, or neither where there is none.
    /// </summary>
    /// <param name="path">As <see cref="EngineOptions.PackedFile"/> has it.</param>
    /// <param name="checkpoint">The model's; disposed when this throws.</param>
    /// <param name="computeType">Type of the activations.</param>
    /// <exception cref="ModelFormatException">The file that was asked for does not fit.</exception>
    public static (PackedFile? File, string? Complaint) Find(string? path, Checkpoint checkpoint, DType computeType)
    {
        string own = System.IO.Path.Combine(checkpoint.Folder, FileName);
        if (path is "" || (path is null && !File.Exists(own))) return default;
        try
        {
            return (Open(path ?? own, checkpoint, computeType), null);
        }
        catch (ModelFormatException error) when (path is null)
        {
            return (null, error.Message);
        }
        catch
        {
            checkpoint.Dispose();
            throw;
        }
    }

    /// <summary>Opens a file that fits a checkpoint.</summary>
    /// <param name="path">The file.</param>
    /// <param name="checkpoint">What its weights must have been made of.</param>
    /// <param name="computeType">Type of the activations, which decides the types of weights.</param>
    /// <exception cref="ModelFormatException">It is damaged or made of something else; says what was expected and what came.</exception>
    public static PackedFile Open(string path, Checkpoint checkpoint, DType computeType)
    {
        var file = new PackedFile(new SafetensorsFile(path));
        try
        {
            file.Require(VersionKey, Text(Version));
            file.Require(LayoutKey, Text(DenseWeights.LayoutVersion));
            file.Require(SourceKey, checkpoint.Identity());
            file.RequireTypes(checkpoint, computeType);
            return file;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Writes all packed weights of a loaded model.</summary>
    /// <param name="path">The file, which is there when this returns and not before.</param>
    /// <param name="checkpoint">What the weights were made of.</param>
    /// <param name="modules">The weights.</param>
    /// <param name="progress">Told the share that is written, from 0 to 1.</param>
    /// <param name="cancellation">Looked at before every piece; nothing is left then.</param>
    public static void Write(string path, Checkpoint checkpoint, IReadOnlyList<PackedModule> modules, IProgress<double>? progress, CancellationToken cancellation)
    {
        PackedModule[] quantized = [.. modules.Where(module => module.Quantized is not null)];
        List<SafetensorsTensor> tensors = [.. modules.Select(TensorOf), .. quantized.Select(module => new SafetensorsTensor(module.Name + HeaderSuffix, Bytes, [HeaderBytes], HeaderBytes))];
        var metadata = new Dictionary<string, string> { [VersionKey] = Text(Version), [LayoutKey] = Text(DenseWeights.LayoutVersion), [SourceKey] = checkpoint.Identity() };
        using var writer = new SafetensorsWriter(path, tensors, metadata);
        var piece = new byte[PieceBytes];
        long written = 0, bytes = modules.Sum(module => module.Buffer.SizeInBytes);
        foreach (PackedModule module in modules)
            for (long start = 0; start < module.Buffer.SizeInBytes; start += piece.Length)
            {
                cancellation.ThrowIfCancellationRequested();
                Span<byte> part = piece.AsSpan(0, (int)Math.Min(piece.Length, module.Buffer.SizeInBytes - start));
                module.Buffer.CopyTo(part, start);
                writer.Write(part);
                progress?.Report((double)(written += part.Length) / bytes);
            }
        using var headers = new MemoryStream();
        foreach (PackedModule module in quantized) module.Quantized!.Header.Write(headers);
        writer.Write(headers.ToArray());
        writer.Complete();
    }

    /// <summary>Dense weights, the mapped file; 2 · outputs where they are gated.</summary>
    /// <exception cref="ModelFormatException">They are missing, or not what was expected.</exception>
    public DenseWeights Dense(Device device, string name, DType type, int n, int k, bool isGated)
    {
        SafetensorsEntry tensor = Find(name);
        if (tensor.Type != type.ToString() || tensor.Length != DenseWeights.SizeOf(type, n, k))
            throw Damaged($"{name} has {tensor.Length} bytes of {tensor.Type}, expected {DenseWeights.SizeOf(type, n, k)} of {type} for [{n}, {k}]");
        return Wrapped(name, () => DenseWeights.Wrap(_file.Map(device, tensor, type), type, n, k, isGated));
    }

    /// <summary>Whether there are quantised weights of that name.</summary>
    public bool HasQuantized(string name) => _file.Tensors.ContainsKey(name + HeaderSuffix);

    /// <summary>Quantised weights, the mapped file; 2 · outputs where they are gated.</summary>
    /// <exception cref="ModelFormatException">They are missing, or not what was expected.</exception>
    public PackedWeights Quantized(Device device, string name, int n, int k)
    {
        SafetensorsEntry stored = Find(name + HeaderSuffix), tensor = Find(name);
        return Wrapped(name, () =>
        {
            using var stream = new MemoryStream(_file.Bytes(stored, 0, (int)Math.Min(stored.Length, HeaderBytes)).ToArray());
            PackedHeader header = PackedHeader.Read(stream);
            return header.N == n && header.K == k ? PackedWeights.Wrap(header, _file.Map(device, tensor, DType.I8))
                : throw new InvalidDataException($"{header.Format}[{header.N}, {header.K}], expected [{n}, {k}]");
        });
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    private static SafetensorsTensor TensorOf(PackedModule module)
    {
        long bytes = module.Buffer.SizeInBytes;
        return module.Dense is { } dense
            ? new SafetensorsTensor(module.Name, dense.DType.ToString(), [bytes / LineBytes, LineBytes / dense.DType.Size()], bytes)
            : new SafetensorsTensor(module.Name, Bytes, [bytes], bytes);
    }

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);

    private T Wrapped<T>(string name, Func<T> wrap)
    {
        try
        {
            return wrap();
        }
        catch (Exception error) when (error is InvalidDataException or ArgumentException)
        {
            throw Damaged($"{name}: {error.Message}", error);
        }
    }

    private void Require(string key, string expected)
    {
        if (!_file.Metadata.TryGetValue(key, out string? came)) throw Damaged($"it does not say its {key}, expected {expected}");
        if (came != expected) throw new ModelFormatException($"{Path} does not fit the model: its {key} is {came}, expected {expected}; {Remedy}.");
    }

    /// <summary>Dense weights must have the types that the activations ask for.</summary>
    private void RequireTypes(Checkpoint checkpoint, DType computeType)
    {
        foreach (SafetensorsEntry tensor in _file.Tensors.Values)
        {
            if (tensor.Type == Bytes) continue;
            string source = tensor.Name.EndsWith(GatedSuffix, StringComparison.Ordinal) ? tensor.Name[..^GatedSuffix.Length] : tensor.Name;
            if (!checkpoint.Contains(source)) throw Damaged($"the model has no tensor {source}");
            string expected = computeType == DType.F32 ? checkpoint.Find(source).Tensor.Type : computeType.ToString();
            if (tensor.Type != expected)
                throw new ModelFormatException($"{Path} does not fit: {tensor.Name} is {tensor.Type}, activations in {computeType} expect {expected}; {Remedy}.");
        }
    }

    private SafetensorsEntry Find(string name) => _file.Tensors.TryGetValue(name, out SafetensorsEntry? tensor) ? tensor : throw Damaged($"{name} is missing");

    private ModelFormatException Damaged(string what, Exception? inner = null) => new($"{Path} cannot be used: {what}; {Remedy}.", inner!);
}
