using System.Globalization;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary><c>kf info</c>: this machine, and what a model is and needs.</summary>
internal static class InfoCommand
{
    private const int LabelWidth = 18;

    public static OptionTable Table { get; } = new(
        new OptionGroup("Options",
            new Option("--model", "DIR", "model folder to describe"),
            new Option("--context", "N", "tokens of prompt and answer together", "the model's limit"),
            new Option("--batch", "N", "sequences at the same time", "1"),
            new Option("--block-size", "N", "token positions in a block of keys and values", "16"),
            DeviceChoice.DeviceOption,
            new Option("--compute-type", "TYPE", "type of results: f32, bf16 or f16", "as kf run"),
            new Option("--kv-type", "TYPE", "type of keys and values: f32, bf16 or f16", "the compute type")));

    public static void WriteHelp(TextWriter writer)
    {
        writer.WriteLine("""
            kf info [--model DIR] [options]

            Shows the devices of this machine, and of a model its shape and the memory it needs for a context length and a number of sequences.
            Sequences with a common prefix need less than shown: they share its keys and values.

            """);
        Table.WriteHelp(writer);
        writer.WriteLine("""
            Examples:
              kf info
              kf info --model models/small --context 4096 --batch 64
            """);
    }

    public static int Run(ParsedOptions options, Terminal terminal)
    {
        using var text = new StringWriter(CultureInfo.InvariantCulture);
        WriteMachine(text);
        if (options.Text("--model") is { } folder) WriteModel(text, folder, options);
        terminal.WriteOutput(text.ToString());
        return ExitCodes.Answered;
    }

    private static void WriteMachine(TextWriter text)
    {
        Line(text, "kf", $"{RuntimeInformation.FrameworkDescription}, {RuntimeInformation.RuntimeIdentifier}");
        Line(text, "device cpu", Device.Cpu.Name);
        Line(text, "instruction sets", InstructionSets());
        Line(text, "vectors used", CpuInstructionSets.Best.ToString());
        Line(text, "memory", SizeText.Format(Device.Cpu.AvailableBytes));
        WriteCuda(text);
    }

    /// <summary>Every CUDA device, or why there is none.</summary>
    private static void WriteCuda(TextWriter text)
    {
        string architectures = string.Join(", ", CudaDevice.KernelArchitectures);
        Line(text, "kernels built in", architectures.Length > 0 ? $"PTX for {architectures}" : "none; ./build.sh kernels makes them");
        try
        {
            using CudaDevice first = Device.OpenCuda();
            Line(text, "CUDA driver", $"{first.Driver.LibraryPath}, CUDA {first.DriverVersion}, through {first.Driver.Name}");
            for (int ordinal = 0; ordinal < first.Count; ordinal++)
            {
                using CudaDevice device = Device.OpenCuda(ordinal);
                Line(text, $"device cuda:{ordinal}", $"{device.Name}, {SizeText.Format(device.AvailableBytes)} of {SizeText.Format(device.TotalBytes)} free");
            }
        }
        catch (CudaUnavailableException reason)
        {
            Line(text, "device cuda", $"none: {reason.Message}");
        }
    }

    private static string InstructionSets()
    {
        (string Name, bool IsSupported)[] sets =
        [
            ("AVX", Avx.IsSupported), ("AVX2", Avx2.IsSupported), ("FMA", Fma.IsSupported), ("AVX-512F", Avx512F.IsSupported),
            ("AVX-512BW", Avx512BW.IsSupported), ("AVX-512-VBMI", Avx512Vbmi.IsSupported), ("AVX10.1", Avx10v1.IsSupported),
            ("AdvSIMD", System.Runtime.Intrinsics.Arm.AdvSimd.IsSupported),
        ];
        string names = string.Join(", ", sets.Where(set => set.IsSupported).Select(set => set.Name));
        return names.Length > 0 ? names : "none that matter";
    }

    private static void WriteModel(TextWriter text, string folder, ParsedOptions options)
    {
        ModelConfig config = ModelConfig.Load(folder);
        using var checkpoint = new Checkpoint(folder);
        BpeTokenizer tokenizer = TokenizerLoader.Load(folder);
        ChatTemplate? template = ChatTemplate.Load(folder);

        text.WriteLine();
        Line(text, "model", config.Architecture);
        Line(text, "layers", $"{config.Layers}, hidden size {config.HiddenSize}, MLP {config.MlpSize}");
        Line(text, "heads", $"{config.QueryHeads} of {config.HeadDim}, {config.KvHeads} for keys and values");
        Line(text, "vocabulary", $"{config.VocabularySize} ids, {tokenizer.VocabularySize} of them in the tokenizer");
        Line(text, "context", $"{config.MaxContext} tokens");
        Line(text, "end tokens", config.EndTokenIds.Count > 0 ? string.Join(", ", config.EndTokenIds) : "none");
        Line(text, "chat template", template is null ? "none" : template.Complaint is { } complaint ? $"not supported: {complaint}" : "yes");
        IReadOnlyDictionary<string, long> weights = checkpoint.WeightsByType();
        Line(text, "weights", string.Join(", ", weights.Select(type => $"{type.Value} {type.Key}")));
        if (config.Quantization is { } quantization) Line(text, "quantised", $"{quantization}, {checkpoint.QuantizedModules(quantization).Count()} linear layers");
        WriteMemory(text, config, checkpoint, options);
    }

    private static void WriteMemory(TextWriter text, ModelConfig config, Checkpoint checkpoint, ParsedOptions options)
    {
        int batch = options.Whole("--batch", 1) ?? 1;
        int context = Math.Min(options.Whole("--context", 2) ?? config.MaxContext, config.MaxContext);
        using Device device = (DeviceChoice.Of(options) with { Cpu = new CpuDeviceOptions { Threads = 1 } }).Open();
        (EngineOptions engine, EngineMemory memory) = MemoryOf(device, config, checkpoint, EngineOf(options, batch, context));

        text.WriteLine();
        text.WriteLine($"memory for {batch} x {context} tokens on {device.Name}, computing in {engine.ComputeType} with {engine.KvType} keys and values:");
        Line(text, "  weights", SizeText.Format(memory.Weights) + (device.IsCpu ? $"; {PackedFile(checkpoint, engine.ComputeType!.Value)}" : ""));
        Line(text, "  KV cache", $"{SizeText.Format(memory.KvCache)}, {SizeText.Format(memory.BytesPerBlock / engine.BlockSize)} for each token");
        Line(text, "  intermediate", SizeText.Format(memory.Intermediate));
        Line(text, "  total", SizeText.Format(memory.Total));
    }

    private static string PackedFile(Checkpoint checkpoint, DType computeType)
    {
        if (!File.Exists(Path.Combine(checkpoint.Folder, ModelPacker.FileName))) return "packed when loaded, or once by kf pack";
        return ModelPacker.ComplaintOf(checkpoint, computeType) is { } complaint ? $"packed when loaded: {complaint}" : $"mapped from {ModelPacker.FileName}";
    }

    private static EngineOptions EngineOf(ParsedOptions options, int batch, int context)
    {
        var standard = new EngineOptions();
        int blockSize = options.Whole("--block-size", 1) ?? standard.BlockSize;
        long blocks = batch * (((long)context + blockSize - 1) / blockSize);
        return standard with
        {
            ContextLength = context,
            MaxSequences = batch,
            BlockSize = blockSize,
            KvBlocks = blocks <= int.MaxValue ? (int)blocks : throw OptionNames.Complaint(new OverflowException()),
            ComputeType = RunOptions.TypeOf(options, "--compute-type"),
            KvType = RunOptions.TypeOf(options, "--kv-type"),
        };
    }

    private static (EngineOptions, EngineMemory) MemoryOf(Device device, ModelConfig config, Checkpoint checkpoint, EngineOptions engine)
    {
        try
        {
            engine = engine.For(device, config, checkpoint);
            return (engine, EngineMemory.Of(device, config, checkpoint, engine));
        }
        catch (Exception error) when (error is ArgumentException or OverflowException)
        {
            throw OptionNames.Complaint(error);
        }
    }

    private static void Line(TextWriter text, string label, string value) => text.WriteLine(label.PadRight(LabelWidth) + value);
}
