using System.Text.Json.Nodes;

namespace KernelForge.Tests;

/// <summary>Whole models through the quantiser: what is written, and that an attempt that ended early comes to the same bytes.</summary>
public sealed class ModelQuantizerTests(OpenDevices devices) : IClassFixture<OpenDevices>, IDisposable
{
    private static readonly WeightFormat Format = WeightFormat.W4Group32; // divides the tiny model's 64 and 96

    private readonly string _folder = Directory.CreateTempSubdirectory("kf-quantize-").FullName;
    private readonly TinyModel _tiny = TinyModel.Create("llama-biases", DType.BF16);

    private string Output => Path.Combine(_folder, "out");

    public void Dispose()
    {
        _tiny.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public void Run_RoundToNearest_WritesWhatRoundingGives()
    {
        QuantizationSummary summary = Run(Output, CodeChoice.RoundToNearest);

        using Checkpoint before = new(_tiny.Folder), after = new(Output);
        foreach (string name in before.Names.Where(name => !IsQuantized(name)))
        {
            (SafetensorsEntry source, SafetensorsEntry copy) = (before.Find(name).Tensor, after.Find(name).Tensor);
            Assert.Equal((source.Type, source.Length), (copy.Type, copy.Length));
            Assert.Equal(before.Find(name).File.Bytes(source, 0, (int)source.Length).ToArray(), after.Find(name).File.Bytes(copy, 0, (int)copy.Length).ToArray());
        }
        foreach (string name in before.Names.Where(IsQuantized))
        {
            Assert.False(after.Contains(name));
            IReadOnlyList<long> shape = before.Find(name).Tensor.Shape;
            float[,] weights = Matrix(_tiny.Tensor(name), (int)shape[0], (int)shape[1]);
            IReadOnlyList<NamedTensor> expected = CompressedTensorsWriter.Tensors(name[..^".weight".Length], QuantizedMatrix.Round(weights, Format, DType.BF16), DType.BF16);
            Assert.Equal(3, expected.Count);
            foreach (NamedTensor tensor in expected)
            {
                (SafetensorsFile file, SafetensorsEntry entry) = after.Find(tensor.Name);
                Assert.Equal(tensor.Shape, entry.Shape);
                Assert.Equal(tensor.Bytes.ToArray(), file.Bytes(entry, 0, (int)entry.Length).ToArray());
            }
        }
        Assert.Equal((before.SizeInBytes, after.SizeInBytes), (summary.BytesBefore, summary.BytesAfter));
        Assert.InRange(summary.WeightError, 0.02, 0.12);
        Assert.Null(summary.OutputError);
    }

    [Fact]
    public void Run_WritesAModelFolder()
    {
        File.WriteAllText(Path.Combine(_tiny.Folder, "tokenizer.json"), "{}");
        File.WriteAllText(Path.Combine(_tiny.Folder, "pytorch_model.bin"), "weights in another form");

        Run(Output, CodeChoice.RoundToNearest);

        string[] shards = ["model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors"];
        Assert.Equal(["config.json", "kf-quantize.json", .. shards, "model.safetensors.index.json", "tokenizer.json"], Directory.GetFiles(Output).Select(Path.GetFileName).Order(StringComparer.Ordinal)!);
        JsonNode config = JsonNode.Parse(File.ReadAllText(Path.Combine(Output, "config.json")))!;
        Assert.Equal(64, (int)config["hidden_size"]!);
        Assert.Equal("compressed-tensors", (string)config["quantization_config"]!["quant_method"]!);
        JsonNode weights = config["quantization_config"]!["config_groups"]!["group_0"]!["weights"]!;
        Assert.Equal((4, 32), ((int)weights["num_bits"]!, (int)weights["group_size"]!));
        JsonNode index = JsonNode.Parse(File.ReadAllText(Path.Combine(Output, "model.safetensors.index.json")))!;
        Assert.Equal(shards[1], (string)index["weight_map"]!["model.layers.1.mlp.down_proj.weight_packed"]!);
        Assert.Equal(shards[2], (string)index["weight_map"]!["model.embed_tokens.weight"]!);
    }

    [Fact]
    public void Run_Gptq_ErrsLessThanRounding()
    {
        QuantizationSummary summary = Run(Output, CodeChoice.Gptq);

        Assert.Equal(512, summary.CalibrationTokens);
        Assert.InRange(summary.OutputError!.Value, 0.001, 0.9 * summary.RoundingOutputError!.Value);
    }

    [Fact]
    public void Run_Gptq_CalibratesALayerWithThoseBeforeItAsTheyWereQuantised()
    {
        Run(Output, CodeChoice.Gptq);

        using var calibration = new Calibration(Device.Cpu, _tiny.Folder, _tiny.Config, DType.F32, Texts(), CancellationToken.None);
        using var quantized = new ModelWeights(Device.Cpu, new Checkpoint(Output), ModelConfig.Load(Output).Quantization, DType.F32, null, CancellationToken.None);
        using var dense = new ModelWeights(Device.Cpu, new Checkpoint(_tiny.Folder), null, DType.F32, null, CancellationToken.None);
        calibration.Advance(new TransformerLayer(quantized, _tiny.Config, 0), CancellationToken.None);
        float[,] hessian = calibration.Observe(new TransformerLayer(dense, _tiny.Config, 1), CancellationToken.None)[LinearInput.MlpOutput];
        QuantizedMatrix expected = new GptqQuantizer(hessian, new GptqOptions { ScaleType = DType.BF16 }).Quantize(Matrix(_tiny.Tensor("model.layers.1.mlp.down_proj.weight"), 64, 96), Format);
        using var written = new Checkpoint(Output);
        (SafetensorsFile file, SafetensorsEntry codes) = written.Find("model.layers.1.mlp.down_proj.weight_packed");
        Assert.Equal(CompressedTensorsWriter.Tensors("", expected, DType.BF16)[0].Bytes.ToArray(), file.Bytes(codes, 0, (int)codes.Length).ToArray());
    }

    // On CUDA two texts: what is emulated takes its time.
    [DeviceTheory, MemberData(nameof(Devices.AllCuda), MemberType = typeof(Devices))]
    public void Run_GptqOnCuda_ErrsLessThanRounding(string deviceName)
    {
        QuantizationSummary summary = ModelQuantizer.Run(_tiny.Folder, Output, Options(CodeChoice.Gptq), Texts()[..2], devices.Open(deviceName));

        Assert.Equal(128, summary.CalibrationTokens);
        Assert.InRange(summary.OutputError!.Value, 0.001, 0.95 * summary.RoundingOutputError!.Value);
    }

    [Theory]
    [InlineData(CodeChoice.RoundToNearest)]
    [InlineData(CodeChoice.Gptq)]
    public void Run_AfterAnInterruption_GivesTheSameBytes(CodeChoice choice)
    {
        string whole = Path.Combine(_folder, "whole");
        Run(whole, choice);
        using var stop = new CancellationTokenSource();
        var interrupt = new Progress(progress =>
        {
            if (progress.Layer == 1) stop.Cancel();
        });

        Assert.ThrowsAny<OperationCanceledException>(() => Run(Output, choice, interrupt, stop.Token));
        Assert.Equal(["kf-quantize.json", "model-00001-of-00003.safetensors"], Directory.GetFiles(Output).Select(Path.GetFileName).Order(StringComparer.Ordinal)!);
        List<int> layers = [];
        QuantizationSummary summary = Run(Output, choice, new Progress(progress => layers.Add(progress.Layer)));

        Assert.Equal(1, summary.LayersFound);
        foreach (string path in Directory.GetFiles(whole)) Assert.Equal(File.ReadAllBytes(path), File.ReadAllBytes(Path.Combine(Output, Path.GetFileName(path))));
        Assert.Equal(2, Run(Output, choice).LayersFound); // all of it is there: nothing to do, no complaint
    }

    [Fact]
    public void Run_OtherOptionsOrFolder_IsRefused()
    {
        Run(Output, CodeChoice.Gptq);

        Refuses<InvalidDataException>("method was \"gptq\", now it is \"rtn\"", () => Run(Output, CodeChoice.RoundToNearest));
        Refuses<InvalidDataException>("damping was 0.01, now it is 0.5", () => Run(Output, Options(CodeChoice.Gptq) with { Damping = 0.5f }));
        Refuses<InvalidDataException>("calibration_tokens was 512, now it is 300", () => Run(Output, Options(CodeChoice.Gptq) with { CalibrationTokens = 300 }));
        Refuses<InvalidDataException>("holds other files and no kf-quantize.json", () => Run(_tiny.Folder, CodeChoice.RoundToNearest));
        Refuses<ArgumentException>("model.layers.0.self_attn.q_proj has 64 inputs, no multiple of the 128 of w4g128",
            () => Run(Path.Combine(_folder, "b"), Options(CodeChoice.RoundToNearest) with { Format = WeightFormat.W4Group128 }));
        Refuses<ArgumentException>("GPTQ needs calibration texts", () => ModelQuantizer.Run(_tiny.Folder, Path.Combine(_folder, "c"), Options(CodeChoice.Gptq), [], Device.Cpu));

        static void Refuses<T>(string expected, Func<object> action) where T : Exception =>
            Assert.Contains(expected, Assert.Throws<T>(action).Message, StringComparison.Ordinal);
    }

    private static QuantizationOptions Options(CodeChoice choice) => new() { Format = Format, Choice = choice };

    private QuantizationSummary Run(string output, CodeChoice choice, IProgress<QuantizationProgress>? progress = null, CancellationToken stop = default) =>
        ModelQuantizer.Run(_tiny.Folder, output, Options(choice), Texts(), Device.Cpu, progress, stop);

    private QuantizationSummary Run(string output, QuantizationOptions options) => ModelQuantizer.Run(_tiny.Folder, output, options, Texts(), Device.Cpu);

    /// <summary>512 tokens in eight texts.</summary>
    private static int[][] Texts()
    {
        var random = new Random(1);
        return [.. Enumerable.Range(0, 8).Select(_ => (int[])[.. Enumerable.Range(0, 64).Select(_ => random.Next(2, 97))])];
    }

    private static bool IsQuantized(string name) => name.EndsWith("_proj.weight", StringComparison.Ordinal);

    private static float[,] Matrix(double[] values, int rows, int columns)
    {
        var result = new float[rows, columns];
        for (int i = 0; i < values.Length; i++) result[i / columns, i % columns] = (float)values[i];
        return result;
    }

    /// <summary>Calls at once, on the same thread.</summary>
    private sealed class Progress(Action<QuantizationProgress> report) : IProgress<QuantizationProgress>
    {
        public void Report(QuantizationProgress value) => report(value);
    }
}
