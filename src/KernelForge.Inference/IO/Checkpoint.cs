using System.Globalization;
using System.Text.Json;

namespace KernelForge.Inference;

/// <summary>The weights of a Hugging Face model folder: <c>model.safetensors</c>, or the shards that <c>model.safetensors.index.json</c> lists.</summary>
public sealed class Checkpoint : IDisposable
{
    private const string SingleFile = "model.safetensors", IndexFile = "model.safetensors.index.json", BiasSuffix = ".bias";

    private readonly Dictionary<string, SafetensorsFile> _fileOf = [];
    private readonly List<SafetensorsFile> _files = [];

    /// <summary>Opens the weight files of a folder and checks that every listed tensor is there.</summary>
    /// <exception cref="ModelFormatException">A file is missing, truncated or inconsistent.</exception>
    public Checkpoint(string folder)
    {
        Folder = folder;
        try
        {
            string index = Path.Combine(folder, IndexFile), single = Path.Combine(folder, SingleFile);
            if (File.Exists(index)) OpenShards(index);
            else if (File.Exists(single)) Open(single);
            else throw new ModelFormatException($"{folder} has no weights: neither {SingleFile} nor {IndexFile} is there.");
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    private Checkpoint(SafetensorsFile shard)
    {
        Folder = Path.GetDirectoryName(Path.GetFullPath(shard.Path))!;
        _files.Add(shard);
        foreach (string name in shard.Tensors.Keys) _fileOf.Add(name, shard);
    }

    /// <summary>The model folder.</summary>
    public string Folder { get; }

    /// <summary>Names of all tensors.</summary>
    public IReadOnlyCollection<string> Names => _fileOf.Keys;

    /// <summary>Bytes of all tensors.</summary>
    public long SizeInBytes => _fileOf.Sum(pair => pair.Value.Tensors[pair.Key].Length);

    /// <summary>One weight file by itself.</summary>
    /// <exception cref="ModelFormatException">It is missing, truncated or inconsistent.</exception>
    internal static Checkpoint OfShard(string path) => new(new SafetensorsFile(path));

    /// <summary>Whether there is a tensor of that name.</summary>
    public bool Contains(string name) => _fileOf.ContainsKey(name);

    /// <summary>Element types and how many weights each holds.</summary>
    public IReadOnlyDictionary<string, long> WeightsByType() => _fileOf
        .Select(pair => pair.Value.Tensors[pair.Key])
        .GroupBy(tensor => tensor.Type)
        .ToDictionary(group => group.Key, group => group.Sum(Elements));

    /// <summary>The float type that most weights are stored in, those of quantised modules left aside; F32 where there is none.</summary>
    public DType MainType => WeightsByType().Where(type => type.Key is "F32" or "F16" or "BF16").OrderByDescending(type => type.Value).FirstOrDefault().Key switch
    {
        "F16" => DType.F16,
        "BF16" => DType.BF16,
        _ => DType.F32,
    };

    /// <summary>
    /// Bytes of all tensors as weights for activations of a type: F32 leaves them as they are stored, F16 and BF16 make them so; quantised modules are packed.
    /// </summary>
    public long BytesAs(DType computeType, QuantizationConfig? quantization = null)
    {
        long bytes = 0;
        HashSet<string> modules = quantization is null ? [] : [.. QuantizedModules(quantization)];
        foreach (string module in modules) bytes += PackedBytes(module, quantization!);
        foreach (string name in Names)
        {
            SafetensorsEntry tensor = Find(name).Tensor;
            if (modules.Count > 0 && !name.EndsWith(BiasSuffix, StringComparison.Ordinal) && modules.Contains(ModuleOf(name))) continue;
            bytes += computeType == DType.F32 ? tensor.Length : Elements(tensor) * computeType.Size();
        }
        return bytes;
    }

    /// <summary>Names of the modules whose weights are quantised.</summary>
    public IEnumerable<string> QuantizedModules(QuantizationConfig quantization)
    {
        ArgumentNullException.ThrowIfNull(quantization);
        return Names.Where(name => name.EndsWith(quantization.CodesSuffix, StringComparison.Ordinal)).Select(ModuleOf);
    }

    /// <summary>The weight files by name, size and time of the last change: what others, made of them, are checked against.</summary>
    internal string Identity() => string.Join("; ", _files.Select(file => file.Path).Order(StringComparer.Ordinal).Select(path =>
    {
        var file = (FileInfo?)File.ResolveLinkTarget(path, returnFinalTarget: true) ?? new FileInfo(path);
        return string.Create(CultureInfo.InvariantCulture, $"{Path.GetFileName(path)} of {file.Length} bytes, changed {file.LastWriteTimeUtc:O}");
    }));

    /// <summary>A tensor as memory of a CPU device: the mapped file itself, valid until the checkpoint is disposed.</summary>
    /// <param name="device">A CPU device.</param>
    /// <param name="name">Tensor name.</param>
    /// <param name="rows">Rows it must have; 1 for a vector.</param>
    /// <param name="columns">Columns it must have.</param>
    /// <exception cref="ModelFormatException">There is no such tensor, or it has another shape or an unsupported type.</exception>
    public DeviceMatrix Load(Device device, string name, int rows, int columns) => Find(name, rows, columns).Map(device).AsMatrix(rows, columns);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (SafetensorsFile file in _files) file.Dispose();
    }

    /// <summary>Type of a tensor of floats. Throws <see cref="ModelFormatException"/> when there is none.</summary>
    internal DType TypeOf(string name)
    {
        (SafetensorsFile file, SafetensorsEntry tensor) = Find(name);
        return file.TypeOf(tensor);
    }

    /// <summary>A tensor of that shape; 1 row for a vector. Throws <see cref="ModelFormatException"/> as <see cref="Load"/> does.</summary>
    internal CheckpointTensor Find(string name, int rows, int columns)
    {
        (SafetensorsFile file, SafetensorsEntry tensor) = FindShape(name, rows, columns);
        return new CheckpointTensor(file, tensor);
    }

    /// <summary>A tensor of that type, as safetensors names it, and shape; 1 row for a vector. Throws as <see cref="Load"/> does.</summary>
    internal (SafetensorsFile File, SafetensorsEntry Tensor) Find(string name, string type, int rows, int columns)
    {
        (SafetensorsFile file, SafetensorsEntry tensor) = FindShape(name, rows, columns);
        return tensor.Type == type ? (file, tensor) : throw new ModelFormatException($"{file.Path}: tensor {name} is {tensor.Type}, expected {type}.");
    }

    /// <summary>A tensor of any type and shape. Throws when there is none.</summary>
    internal (SafetensorsFile File, SafetensorsEntry Tensor) Find(string name) => _fileOf.TryGetValue(name, out SafetensorsFile? file)
        ? (file, file.Tensors[name])
        : throw new ModelFormatException($"{Folder}: tensor {name} is missing from the weights.");

    /// <summary>Bytes of all tensors of a module, its bias left aside.</summary>
    internal long BytesOf(string module) => TensorsOf(module).Sum(name => Find(name).Tensor.Length);

    /// <summary>The tensors of a module, its bias left aside, are not needed soon: their pages may leave this process.</summary>
    internal void Release(string module)
    {
        foreach (string name in TensorsOf(module))
        {
            (SafetensorsFile file, SafetensorsEntry tensor) = Find(name);
            file.Release(tensor);
        }
    }

    private IEnumerable<string> TensorsOf(string module) => Names.Where(name => ModuleOf(name) == module && !name.EndsWith(BiasSuffix, StringComparison.Ordinal));

    private static string ModuleOf(string tensor) => tensor[..Math.Max(tensor.LastIndexOf('.'), 0)];

    private static long Elements(SafetensorsEntry tensor) => tensor.Shape.Aggregate(1L, (product, dimension) => product * dimension);

    private long PackedBytes(string module, QuantizationConfig quantization)
    {
        (SafetensorsFile file, SafetensorsEntry codes) = Find(module + quantization.CodesSuffix);
        if (codes.Shape.Count != 2) throw new ModelFormatException($"{file.Path}: tensor {codes.Name} has {codes.Shape.Count} dimensions, expected 2.");
        (int n, int k) = quantization.ShapeOf(codes.Shape);
        try
        {
            return PackedWeights.SizeOf(quantization.Format, n, k, Contains(module + quantization.OrderSuffix));
        }
        catch (ArgumentException error)
        {
            throw new ModelFormatException($"{file.Path}: the quantised weights of {module} do not fit {quantization} ({error.Message}).", error);
        }
    }

    private (SafetensorsFile File, SafetensorsEntry Tensor) FindShape(string name, int rows, int columns)
    {
        (SafetensorsFile file, SafetensorsEntry tensor) = Find(name);
        bool fits = tensor.Shape.SequenceEqual([rows, columns]) || (rows == 1 && tensor.Shape.SequenceEqual([columns]));
        return fits ? (file, tensor)
            : throw new ModelFormatException($"{file.Path}: tensor {name} is [{string.Join(", ", tensor.Shape)}], config.json asks for [{rows}, {columns}].");
    }

    private void OpenShards(string index)
    {
        var listed = new Dictionary<string, string>();
        try
        {
            using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(index));
            foreach (JsonProperty pair in document.RootElement.GetProperty("weight_map").EnumerateObject())
                listed[pair.Name] = pair.Value.GetString()!;
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException or KeyNotFoundException)
        {
            throw new ModelFormatException($"{index} is no valid index of weights ({error.Message})", error);
        }

        string[] shards = [.. listed.Values.Distinct()];
        foreach (string shard in shards)
            if (Path.GetFileName(shard) != shard) throw new ModelFormatException($"{index} names {shard}, which is outside of its folder.");
        foreach (string shard in shards) Open(Path.Combine(Folder, shard));
        foreach ((string name, string shard) in listed)
            if (!Contains(name)) throw new ModelFormatException($"{index} says that tensor {name} is in {shard}, which has no such tensor.");
    }

    private void Open(string path)
    {
        var file = new SafetensorsFile(path);
        _files.Add(file);
        foreach (string name in file.Tensors.Keys)
            if (!_fileOf.TryAdd(name, file)) throw new ModelFormatException($"{Folder}: tensor {name} is in two weight files.");
    }
}
