using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text.Json.Nodes;
using CommunityToolkit.HighPerformance;

namespace KernelForge.Inference;

/// <summary>
/// Writes a model with quantised weights: a Hugging Face folder in compressed-tensors form "pack-quantized". The linear maps of all layers are
/// quantised; embeddings, lm_head, norms and biases stay as they are. A layer is a file: an attempt that ended early goes on after the last one.
/// </summary>
public sealed class ModelQuantizer
{
    private const int PieceBytes = 8 << 20;

    private readonly string _model;
    private readonly QuantizationOptions _options;
    private readonly ModelConfig _config;
    private readonly IReadOnlyList<int[]> _texts;
    private readonly Device _device;
    private readonly IProgress<QuantizationProgress>? _progress;
    private readonly CancellationToken _cancellation;
    private readonly QuantizationErrors _errors = new();

    private ModelQuantizer(
        string model, QuantizationOptions options, IReadOnlyList<int[]> texts, Device device, IProgress<QuantizationProgress>? progress, CancellationToken cancellation)
    {
        (_model, _options, _device, _progress, _cancellation) = (model, options, device, progress, cancellation);
        _config = ModelConfig.Load(model);
        if (_config.Quantization is { } quantization) throw new ModelFormatException($"{model} is quantised already, as {quantization}; expected weights in F32, F16 or BF16.");
        _texts = options.Choice == CodeChoice.Gptq ? Shortened(texts, options) : [];
    }

    /// <summary>Quantises a model.</summary>
    /// <param name="model">Its folder: Llama family, weights in F32, F16 or BF16.</param>
    /// <param name="output">A new folder, or one that was begun with the same options and model.</param>
    /// <param name="options">What to make.</param>
    /// <param name="calibration">GPTQ: token ids of typical texts.</param>
    /// <param name="device">GPTQ: where hidden states are computed; <see cref="Device.Default"/> when null.</param>
    /// <param name="progress">Told what is being done.</param>
    /// <param name="cancellationToken">Ends the work; layers that are finished stay.</param>
    /// <exception cref="ModelFormatException">The model cannot be used; says why.</exception>
    /// <exception cref="ArgumentException">An option is out of range, the format does not divide the model's sizes, or calibration is missing.</exception>
    /// <exception cref="InvalidDataException">The output holds something else.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public static QuantizationSummary Run(
        string model, string output, QuantizationOptions options, IReadOnlyList<int[]>? calibration = null, Device? device = null,
        IProgress<QuantizationProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        return new ModelQuantizer(model, options, calibration ?? [], device ?? Device.Default, progress, cancellationToken).Run(output);
    }

    private QuantizationSummary Run(string output)
    {
        RequireDivisible();
        using var checkpoint = new Checkpoint(_model);
        DType computeType = new EngineOptions { ComputeType = _options.ComputeType }.For(_device, _config, checkpoint).ComputeType!.Value;
        QuantizedFolder folder = QuantizedFolder.Open(output, _config.Layers + 1, Record(checkpoint, computeType));
        int found = Enumerable.Range(0, _config.Layers).Count(folder.Has);
        if (found < _config.Layers) QuantizeLayers(checkpoint, folder, computeType);
        if (!folder.Has(_config.Layers)) Copy(checkpoint, folder.Shard(_config.Layers), [.. checkpoint.Names.Where(name => LayerOf(name) is null)]);
        _progress?.Report(new QuantizationProgress(_config.Layers, _config.Layers, "writing the index"));

        bool hasOrder = _options is { ActivationOrder: true, Choice: CodeChoice.Gptq } && _options.Format.GroupSize != 0;
        long bytes = folder.Complete(_model, CompressedTensorsWriter.Config(_options.Format, ["lm_head"], hasOrder));
        return new QuantizationSummary(
            checkpoint.SizeInBytes, bytes, _config.Layers, found, _texts.Sum(text => (long)text.Length), _errors.Weights, _errors.Outputs?.Quantized,
            _errors.Outputs?.Rounded);
    }

    private void QuantizeLayers(Checkpoint checkpoint, QuantizedFolder folder, DType computeType)
    {
        int end = 1 + Enumerable.Range(0, _config.Layers).Last(layer => !folder.Has(layer));
        using Calibration? calibration = _options.Choice == CodeChoice.Gptq
            ? new Calibration(_device, _model, _config, computeType, _texts, _cancellation) : null;
        for (int layer = 0; layer < end; layer++)
        {
            _cancellation.ThrowIfCancellationRequested();
            if (!folder.Has(layer)) Quantize(checkpoint, layer, calibration, computeType, folder.Shard(layer));
            if (calibration is null || layer + 1 == end) continue;

            Report(layer, "carrying calibration on");
            var stored = new QuantizationConfig(QuantizationMethod.CompressedTensors, _options.Format);
            using var weights = new ModelWeights(_device, Checkpoint.OfShard(folder.Shard(layer)), stored, computeType, null, _cancellation);
            calibration.Advance(new TransformerLayer(weights, _config, layer), _cancellation);
        }
    }

    private void Quantize(Checkpoint checkpoint, int layer, Calibration? calibration, DType computeType, string path)
    {
        IReadOnlyDictionary<LinearInput, float[,]>? hessians = calibration is null ? null : Observe(layer, calibration, computeType);
        List<NamedTensor> quantized = [];
        HashSet<string> replaced = [];
        foreach (IGrouping<LinearInput, LinearMap> maps in LinearMap.Of(_config, layer).GroupBy(map => map.Input))
        {
            float[,]? hessian = hessians?[maps.Key];
            GptqQuantizer? quantizer = null;
            DType quantizerType = default;
            foreach (LinearMap map in maps)
            {
                _cancellation.ThrowIfCancellationRequested();
                Report(layer, map.Name[(TransformerLayer.NameOf(layer).Length + 1)..]);
                (float[,] weights, DType type) = Load(checkpoint, map);
                if (hessian is not null && (quantizer is null || type != quantizerType)) (quantizer, quantizerType) = (Factored(hessian, type), type);
                QuantizedMatrix matrix = quantizer?.Quantize(weights, _options.Format, _cancellation) ?? QuantizedMatrix.Round(weights, _options.Format, type);
                _errors.Add(weights, matrix, type, hessian);
                quantized.AddRange(CompressedTensorsWriter.Tensors(map.Name, matrix, type));
                replaced.Add(map.Weight);
            }
        }
        Copy(checkpoint, path, [.. checkpoint.Names.Where(name => LayerOf(name) == layer && !replaced.Contains(name))], quantized);
    }

    private IReadOnlyDictionary<LinearInput, float[,]> Observe(int layer, Calibration calibration, DType computeType)
    {
        Report(layer, "watching its inputs");
        using var weights = new ModelWeights(_device, new Checkpoint(_model), null, computeType, null, _cancellation);
        return calibration.Observe(new TransformerLayer(weights, _config, layer), _cancellation);
    }

    private GptqQuantizer Factored(float[,] hessian, DType scaleType) => new(
        hessian, new GptqOptions { Damping = _options.Damping, ActivationOrder = _options.ActivationOrder, ScaleType = scaleType, Threads = _options.Threads }, _cancellation);

    private static (float[,] Weights, DType Type) Load(Checkpoint checkpoint, LinearMap map)
    {
        CheckpointTensor tensor = checkpoint.Find(map.Weight, map.Outputs, map.Inputs);
        var weights = new float[map.Outputs, map.Inputs];
        for (int row = 0; row < map.Outputs; row++)
            DTypes.Convert(tensor.Bytes((long)row * map.Inputs, map.Inputs), tensor.Type, MemoryMarshal.AsBytes(weights.AsSpan2D().GetRowSpan(row)), DType.F32);
        return (weights, tensor.Type);
    }

    /// <summary>Writes a shard: tensors of the model as they are, then new ones.</summary>
    private void Copy(Checkpoint checkpoint, string path, IReadOnlyList<string> names, IReadOnlyList<NamedTensor>? added = null)
    {
        added ??= [];
        var entries = names.Select(name => checkpoint.Find(name).Tensor);
        using var writer = new SafetensorsWriter(path,
        [
            .. entries.Select(entry => new SafetensorsTensor(entry.Name, entry.Type, entry.Shape, entry.Length)),
            .. added.Select(tensor => new SafetensorsTensor(tensor.Name, tensor.Type, tensor.Shape, tensor.Bytes.Length)),
        ]);
        foreach (string name in names)
        {
            (SafetensorsFile file, SafetensorsEntry entry) = checkpoint.Find(name);
            for (long start = 0; start < entry.Length; start += PieceBytes)
            {
                _cancellation.ThrowIfCancellationRequested();
                writer.Write(file.Bytes(entry, start, (int)Math.Min(PieceBytes, entry.Length - start)));
            }
        }
        foreach (NamedTensor tensor in added) writer.Write(tensor.Bytes.Span);
        writer.Complete();
    }

    /// <summary>All that the bits of the output depend on.</summary>
    private JsonObject Record(Checkpoint checkpoint, DType computeType)
    {
        var record = new JsonObject
        {
            ["format"] = _options.Format.ToString(),
            ["method"] = _options.Choice == CodeChoice.Gptq ? "gptq" : "rtn",
            ["model_bytes"] = checkpoint.SizeInBytes,
            ["model_config"] = Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(Path.Combine(_model, "config.json")))),
        };
        if (_options.Choice != CodeChoice.Gptq) return record;
        record["damping"] = _options.Damping;
        record["activation_order"] = _options.ActivationOrder;
        record["compute_type"] = computeType.ToString();
        record["calibration_tokens"] = _texts.Sum(text => (long)text.Length);
        record["calibration"] = Convert.ToHexStringLower(SHA256.HashData(MemoryMarshal.AsBytes<int>((int[])[.. _texts.SelectMany(text => (int[])[text.Length, .. text])])));
        return record;
    }

    private void RequireDivisible()
    {
        int group = _options.Format.GroupSize;
        LinearMap? wrong = LinearMap.Of(_config, 0).FirstOrDefault(map => group != 0 && map.Inputs % group != 0);
        if (wrong is not null)
            throw new ArgumentException($"{wrong.Name} has {wrong.Inputs} inputs, no multiple of the {group} of {_options.Format}; smaller groups or one scale per output (w4, w8) fit.");
    }

    /// <summary>Calibration texts as the options limit them.</summary>
    private static List<int[]> Shortened(IReadOnlyList<int[]> texts, QuantizationOptions options)
    {
        List<int[]> result = [];
        int left = options.CalibrationTokens;
        foreach (int[] text in texts)
        {
            int length = Math.Min(Math.Min(text.Length, options.CalibrationLength), left);
            if (length > 0) result.Add(text[..length]);
            left -= length;
        }
        return result.Count > 0 ? result : throw new ArgumentException("GPTQ needs calibration texts, got none.");
    }

    private static int? LayerOf(string tensor)
    {
        const string Layers = "model.layers.";
        if (!tensor.StartsWith(Layers, StringComparison.Ordinal)) return null;
        int end = tensor.IndexOf('.', Layers.Length);
        return end > 0 && int.TryParse(tensor.AsSpan(Layers.Length, end - Layers.Length), NumberStyles.None, CultureInfo.InvariantCulture, out int layer) ? layer : null;
    }

    private void Report(int layer, string work) => _progress?.Report(new QuantizationProgress(layer, _config.Layers, work));
}
