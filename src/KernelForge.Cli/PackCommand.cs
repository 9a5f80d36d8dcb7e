using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary><c>kf pack</c>: a model's weights in the order of the CPU, in a file that later runs map.</summary>
internal static class PackCommand
{
    private const string Head = """
        kf pack --model DIR [options]

        Writes the weights of a model, quantised or not, in the order in which the CPU multiplies them. kf run on the CPU finds the file in the model's folder and
        uses it in place: it starts without packing weights, and all processes that run the model share the memory of the file. The answers do not change.

        The file takes about as much room as the model, which stays: embeddings, norms and tokenizer are read from there. It belongs to this very model: when the
        weights of the folder are changed, or copied without the times of their last change, kf run says so, packs in memory as it does without a file, and
        kf pack makes a new one.

        """;

    private const string Tail = """
        Examples:
          kf pack --model models/small
          kf pack --model /read/only/small --output small.kfpack
          kf run --model /read/only/small --packed small.kfpack --input prompts.jsonl --output answers.jsonl

        Exit codes:
          0    the file is written
          1    it could not be; one sentence says why
          130  interrupted; nothing is left
        """;

    private static readonly OptionTable Table = new(
        new OptionGroup("Options",
            new Option("--model", "DIR", "model folder"),
            new Option("--output", "FILE", "file to write, or its folder", $"{ModelPacker.FileName} in the model folder"),
            new Option("--compute-type", "TYPE", "type of results that the weights are for: f32, bf16 or f16", "f32, as kf run on the CPU"),
            new Option("--threads", "N", "threads that pack", "one for each core"),
            new Option("--quiet", null, "no progress and no summary on standard error")));

    public static void WriteHelp(TextWriter writer)
    {
        writer.WriteLine(Head);
        Table.WriteHelp(writer);
        writer.WriteLine(Tail);
    }

    /// <summary>Cancelling <paramref name="stop"/> ends the work and leaves nothing.</summary>
    public static int Run(ReadOnlySpan<string> arguments, Terminal terminal, CancellationToken stop)
    {
        ParsedOptions parsed = Table.Parse(arguments);
        string model = parsed.Required("--model");
        if (!Directory.Exists(model)) throw new CommandException($"The model folder {model} does not exist.");
        var progress = new Progressing(new StatusLine(terminal, parsed.Has("--quiet")));
        using Device device = Device.OpenCpu(new CpuDeviceOptions { Threads = parsed.Whole("--threads", 1, CpuDeviceOptions.MaxThreads) ?? 0 });
        try
        {
            FileInfo file = ModelPacker.Write(model, parsed.Text("--output"), RunOptions.TypeOf(parsed, "--compute-type"), device, progress, stop);
            progress.Line.Clear();
            if (!parsed.Has("--quiet")) terminal.Error.WriteLine($"{file.FullName}: {SizeText.Format(file.Length)}");
            return ExitCodes.Answered;
        }
        catch (OperationCanceledException)
        {
            progress.Line.Clear();
            terminal.Error.WriteLine("kf: Interrupted; nothing is written.");
            return ExitCodes.Interrupted;
        }
        finally
        {
            progress.Line.Clear();
        }
    }

    /// <summary>Shows how much is done.</summary>
    private sealed class Progressing(StatusLine line) : IProgress<double>
    {
        public StatusLine Line => line;

        public void Report(double value) => line.Show($"packing weights: {(int)(100 * value)}%");
    }
}
