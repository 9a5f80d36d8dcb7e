using System.Text.Json;
using System.Text.Json.Nodes;

namespace KernelForge.Inference;

/// <summary>
/// The folder that a quantised model is written to: a record of the options, then a shard for each layer and one for the rest, at last the files that make it a
/// model. What is there under its own name is whole, so an attempt that ended early is gone on with.
/// </summary>
internal sealed class QuantizedFolder
{
    private const string RecordFile = "kf-quantize.json", ConfigFile = "config.json", IndexFile = "model.safetensors.index.json";

    private static readonly string[] WeightFiles = ["*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json", "*.pt", "*.pth", "*.gguf", "*.kfpack", "*.partial"];

    private readonly string _folder;
    private readonly int _shards;

    private QuantizedFolder(string folder, int shards) => (_folder, _shards) = (folder, shards);

    /// <summary>Creates the folder, or goes on with one that was begun with the same options.</summary>
    /// <param name="folder">Its path.</param>
    /// <param name="shards">Number of weight files.</param>
    /// <param name="record">The options, by name.</param>
    /// <exception cref="InvalidDataException">There are other files, or it was begun with other options.</exception>
    public static QuantizedFolder Open(string folder, int shards, JsonObject record)
    {
        string path = Path.Combine(folder, RecordFile);
        if (File.Exists(path)) RequireEqual(path, record);
        else if (Directory.Exists(folder) && Directory.EnumerateFileSystemEntries(folder).Any())
            throw new InvalidDataException($"{folder} holds other files and no {RecordFile}; expected a new folder, or one to go on with.");
        else
        {
            Directory.CreateDirectory(folder);
            WriteJson(path, record);
        }
        return new QuantizedFolder(folder, shards);
    }

    /// <summary>Path of a shard, from 0.</summary>
    public string Shard(int index) => Path.Combine(_folder, $"model-{index + 1:D5}-of-{_shards:D5}.safetensors");

    /// <summary>Whether a shard is there, and so complete.</summary>
    public bool Has(int index) => File.Exists(Shard(index));

    /// <summary>All shards are there: writes their index, the other files of the model, and config.json last. Returns the bytes of all tensors.</summary>
    /// <param name="source">The model that was quantised.</param>
    /// <param name="quantization">For config.json.</param>
    public long Complete(string source, JsonObject quantization)
    {
        long bytes = WriteIndex();
        foreach (string file in Directory.EnumerateFiles(source))
        {
            string name = Path.GetFileName(file);
            bool isWeights = WeightFiles.Any(pattern => System.IO.Enumeration.FileSystemName.MatchesSimpleExpression(pattern, name));
            if (isWeights || name is ConfigFile or RecordFile || name.StartsWith('.')) continue;
            File.Copy(file, Path.Combine(_folder, name), overwrite: true);
        }
        JsonNode config = JsonNode.Parse(File.ReadAllBytes(Path.Combine(source, ConfigFile)))!;
        config["quantization_config"] = quantization;
        WriteJson(Path.Combine(_folder, ConfigFile), config);
        return bytes;
    }

    private long WriteIndex()
    {
        var map = new JsonObject();
        long bytes = 0;
        for (int shard = 0; shard < _shards; shard++)
        {
            using var file = new SafetensorsFile(Shard(shard));
            foreach ((string name, SafetensorsEntry tensor) in file.Tensors.OrderBy(pair => pair.Key, StringComparer.Ordinal))
            {
                map[name] = Path.GetFileName(file.Path);
                bytes += tensor.Length;
            }
        }
        WriteJson(Path.Combine(_folder, IndexFile), new JsonObject { ["metadata"] = new JsonObject { ["total_size"] = bytes }, ["weight_map"] = map });
        return bytes;
    }

    private static void RequireEqual(string path, JsonObject record)
    {
        JsonObject before;
        try
        {
            before = JsonNode.Parse(File.ReadAllBytes(path)) as JsonObject ?? throw new JsonException("expected an object");
        }
        catch (JsonException error)
        {
            throw new InvalidDataException($"{path} is no record of options ({error.Message}).", error);
        }
        foreach ((string name, JsonNode? value) in record)
            if (Text(before[name]) != Text(value))
                throw new InvalidDataException($"{path} says that {name} was {Text(before[name])}, now it is {Text(value)}; expected the same options, or a new folder.");

        static string Text(JsonNode? value) => value?.ToJsonString() ?? "not set";
    }

    /// <summary>In one move, so that no half-written file is ever found.</summary>
    private static void WriteJson(string path, JsonNode value)
    {
        using (FileStream file = File.Create(path + ".partial"))
        using (var json = new Utf8JsonWriter(file, new JsonWriterOptions { Indented = true, NewLine = "\n" }))
            value.WriteTo(json);
        File.Move(path + ".partial", path, overwrite: true);
    }
}
