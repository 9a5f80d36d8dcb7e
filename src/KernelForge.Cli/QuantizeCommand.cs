using System.Globalization;
using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary><c>kf quantize</c>: a model's weights as 4 or 8 bits, written as a model folder.</summary>
internal static class QuantizeCommand
{
    private const string Head = """
        kf quantize --model DIR --output DIR --format FORMAT [options]

        Writes the model again with the weights of its layers as whole numbers of 4 or 8 bits; embeddings, lm_head, norms and biases stay as they are.
        A format is w4 or w8 (one scale per output), or w4g128, w4g64, w4g32 and so on (a scale for every 128, 64, 32 weights), with -asym for zero points.
          w4g128  about a quarter of the size of 16-bit weights: the usual choice, with --method gptq
          w8      half the size, almost no loss

        --method rtn rounds each weight to the nearest value: seconds, no data needed. --method gptq (arXiv:2210.17323) chooses them so that the layer's
        outputs for the calibration texts change as little as possible: minutes to hours, less loss. Calibration texts are lines of {"text"} or prompts as
        kf run takes them, best of the kind that the model will see; their answers, as "text" or "token_ids", help too.

        The output is a Hugging Face folder in compressed-tensors form (quant_method "compressed-tensors", format "pack-quantized"): kf run loads it,
        vLLM does, and transformers with the package compressed-tensors. Files other than weights are copied; subfolders are not.

        """;

    private const string Tail = """
        Examples:
          kf quantize --model models/small --output models/small-w8 --format w8
          kf quantize --model models/small --output models/small-w4 --format w4g128 --method gptq --calibration prompts.jsonl
          kf perplexity --model models/small-w4 --input texts.jsonl

        A run that ended early, by Ctrl-C too, leaves whole layers only: the same command goes on after them. With other options it asks for a new folder.

        Exit codes:
          0    the model is written
          1    it could not be; one sentence says why
          130  interrupted; the same command goes on
        """;

    private static readonly OptionTable Table = new(
        new OptionGroup("Options",
            new Option("--model", "DIR", "model folder with weights in F32, F16 or BF16"),
            new Option("--output", "DIR", "folder to write; new, or begun with the same options"),
            new Option("--format", "FORMAT", "w4, w8, w4g128, w4g64-asym, ..."),
            new Option("--method", "NAME", "rtn or gptq", "rtn"),
            new Option("--quiet", null, "no progress and no summary on standard error")),
        new OptionGroup("For gptq",
            new Option("--calibration", "FILE", "JSON lines with texts or prompts"),
            new Option("--calibration-tokens", "N", "most tokens of all texts; their hidden states are held in memory", "65536"),
            new Option("--calibration-length", "N", "most tokens of a text", "2048"),
            new Option("--act-order", null, "choose codes in the order of falling activations (desc_act): less loss, products gather their inputs"),
            new Option("--damping", "X", "added to the Hessian's diagonal, as a part of its mean", "0.01"),
            new Option("--raw", null, "put no special tokens, such as begin-of-sequence, around texts"),
            new Option("--device", "NAME", "where layers run: cpu, cuda, cuda:N, or auto", "auto"),
            new Option("--compute-type", "TYPE", "type of their results: f32, bf16 or f16", "f32; on CUDA 16 bits as the weights"),
            DeviceChoice.ThreadsOption,
            DeviceChoice.PinOption));

    private static readonly string[] GptqOptionNames =
        ["--calibration", "--calibration-tokens", "--calibration-length", "--act-order", "--damping", "--raw", "--device", "--compute-type", "--pin"];

    public static void WriteHelp(TextWriter writer)
    {
        writer.WriteLine(Head);
        Table.WriteHelp(writer);
        writer.WriteLine(Tail);
    }

    /// <summary>Cancelling <paramref name="stop"/> ends the work; finished layers stay.</summary>
    public static int Run(ReadOnlySpan<string> arguments, Terminal terminal, CancellationToken stop)
    {
        ParsedOptions parsed = Table.Parse(arguments);
        string model = parsed.Required("--model"), output = parsed.Required("--output");
        if (!Directory.Exists(model)) throw new CommandException($"The model folder {model} does not exist.");
        QuantizationOptions options = OptionsOf(parsed);
        IReadOnlyList<int[]> texts = parsed.Text("--calibration") is { } path ? TextsOf(path, model, parsed.Has("--raw")) : [];
        bool quiet = parsed.Has("--quiet");
        var progress = new Progressing(new StatusLine(terminal, quiet));
        using Device device = DeviceChoice.Of(parsed).Open();
        try
        {
            QuantizationSummary summary = ModelQuantizer.Run(model, output, options, texts, device, progress, stop);
            progress.Line.Clear();
            if (!quiet) Write(terminal.Error, output, options, summary);
            return ExitCodes.Answered;
        }
        catch (OperationCanceledException)
        {
            progress.Line.Clear();
            terminal.Error.WriteLine($"kf: Interrupted after {progress.Layer} layers; the same command goes on.");
            return ExitCodes.Interrupted;
        }
        catch (ArgumentException error)
        {
            throw OptionNames.Complaint(error);
        }
        finally
        {
            progress.Line.Clear();
        }
    }

    private static QuantizationOptions OptionsOf(ParsedOptions parsed)
    {
        var standard = new QuantizationOptions();
        CodeChoice choice = parsed.Choice("--method", ("rtn", CodeChoice.RoundToNearest), ("gptq", CodeChoice.Gptq)) ?? standard.Choice;
        if (choice == CodeChoice.Gptq && parsed.Text("--calibration") is null) throw new CommandException("--method gptq needs --calibration FILE.");
        if (choice != CodeChoice.Gptq && GptqOptionNames.FirstOrDefault(parsed.Has) is { } name) throw new CommandException($"{name} is for --method gptq; rtn does not use it.");
        return standard with
        {
            Format = FormatOf(parsed.Required("--format")),
            Choice = choice,
            Damping = parsed.Number("--damping", float.Epsilon, float.MaxValue) ?? standard.Damping,
            ActivationOrder = parsed.Has("--act-order"),
            CalibrationTokens = parsed.Whole("--calibration-tokens", 1) ?? standard.CalibrationTokens,
            CalibrationLength = parsed.Whole("--calibration-length", 1) ?? standard.CalibrationLength,
            ComputeType = RunOptions.TypeOf(parsed, "--compute-type"),
            Threads = parsed.Whole("--threads", 1, CpuDeviceOptions.MaxThreads) ?? 0,
        };
    }

    private static WeightFormat FormatOf(string text)
    {
        try
        {
            return WeightFormat.Parse(text);
        }
        catch (FormatException error)
        {
            throw new CommandException($"--format: {error.Message}.");
        }
    }

    private static List<int[]> TextsOf(string path, string model, bool raw)
    {
        using FileStream stream = RunFiles.OpenRead(path, "--calibration");
        var reader = new TextLineReader(TokenizerLoader.Load(model), ChatTemplate.Load(model), raw);
        return [.. reader.Read(stream, path).Select(line => line.Tokens)];
    }

    private static void Write(TextWriter writer, string output, QuantizationOptions options, QuantizationSummary summary)
    {
        string found = summary.LayersFound > 0 ? $"; {summary.LayersFound} were there before" : "";
        double share = 100.0 * summary.BytesAfter / summary.BytesBefore;
        Line("output", $"{output}: compressed-tensors, pack-quantized, {options.Format}");
        Line("layers", $"{summary.Layers}{found}");
        Line("weights", string.Create(CultureInfo.InvariantCulture, $"{SizeText.Format(summary.BytesBefore)} before, {SizeText.Format(summary.BytesAfter)} now ({share:0.0} %)"));
        if (summary.LayersFound == summary.Layers) return;
        if (options.Choice == CodeChoice.Gptq) Line("calibration", $"{summary.CalibrationTokens} tokens");
        Line("weight error", string.Create(CultureInfo.InvariantCulture, $"{100 * summary.WeightError:0.00} % of a matrix's norm on average"));
        if (summary is { OutputError: { } error, RoundingOutputError: { } rounding })
            Line("output error", string.Create(CultureInfo.InvariantCulture, $"{100 * error:0.00} % on calibration texts; rounding to nearest would give {100 * rounding:0.00} %"));

        void Line(string name, string text) => writer.WriteLine($"{name,-18}{text}");
    }

    /// <summary>Shows the layer at work.</summary>
    private sealed class Progressing(StatusLine line) : IProgress<QuantizationProgress>
    {
        public StatusLine Line => line;

        public int Layer { get; private set; }

        public void Report(QuantizationProgress value)
        {
            Layer = value.Layer;
            line.Show(value.Layer == value.Layers ? value.Work : $"layer {value.Layer + 1} of {value.Layers}: {value.Work}");
        }
    }
}
