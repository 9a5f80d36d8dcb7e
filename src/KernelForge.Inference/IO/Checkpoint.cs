using System.Text.Json;

namespace KernelForge.Inference;

/// <summary>The weights of a Hugging Face model folder: <c>model.safetensors</c>, or the shards that <c>model.safetensors.index.json</c> lists.</summary>
public sealed class Checkpoint : IDisposable
{
    private const string SingleFile = "model.safetensors", IndexFile = "model.safetensors.index.json";

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

    /// <summary>The model folder.</summary>
    public string Folder { get; }

    /// <summary>Names of all tensors.</summary>
    public IReadOnlyCollection<string> Names => _fileOf.Keys;

    /// <summary>Bytes of all tensors.</summary>
    public long SizeInBytes => _fileOf.Sum(pair => pair.Value.Tensors[pair.Key].Length);

    /// <summary>Whether there is a tensor of that name.</summary>
    public bool Contains(string name) => _fileOf.ContainsKey(name);

    /// <summary>Element types and how many weights each holds.</summary>
    public IReadOnlyDictionary<string, long> WeightsByType() => _fileOf
        .Select(pair => pair.Value.Tensors[pair.Key])
        .GroupBy(tensor => tensor.Type)
        .ToDictionary(group => group.Key, group => group.Sum(tensor => tensor.Shape.Aggregate(1L, (product, dimension) => product * dimension)));

    /// <summary>The type that most weights are stored in; F32 when that is none of F32, F16 and BF16.</summary>
    public DType MainType => WeightsByType().OrderByDescending(type => type.Value).FirstOrDefault().Key switch { "F16" => DType.F16, "BF16" => DType.BF16, _ => DType.F32 };

    /// <summary>Bytes of all tensors as weights for activations of a type: F32 leaves them as they are stored, F16 and BF16 make them so.</summary>
    public long BytesAs(DType computeType) =>
        computeType == DType.F32 ? SizeInBytes : WeightsByType().Values.Sum() * computeType.Size();

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

    /// <summary>A tensor of that shape; 1 row for a vector. Throws <see cref="ModelFormatException"/> as <see cref="Load"/> does.</summary>
    internal CheckpointTensor Find(string name, int rows, int columns)
    {
        if (!_fileOf.TryGetValue(name, out SafetensorsFile? file)) throw new ModelFormatException($"{Folder}: tensor {name} is missing from the weights.");
        SafetensorsEntry tensor = file.Tensors[name];
        bool fits = tensor.Shape.SequenceEqual([rows, columns]) || (rows == 1 && tensor.Shape.SequenceEqual([columns]));
        if (!fits)
            throw new ModelFormatException($"{file.Path}: tensor {name} is [{string.Join(", ", tensor.Shape)}], config.json asks for [{rows}, {columns}].");
        return new CheckpointTensor(file, tensor);
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
