using System.Globalization;
using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary><c>kf profile</c>: measures what steps of a model cost on this machine, and how well that predicts others.</summary>
internal static class ProfileCommand
{
    private const string Head = """
        kf profile --model DIR [--output FILE.json] [--validate PROMPTS.jsonl] [options]

        Runs made-up steps of the model, decodes and chunks of prompts of many sizes, and fits the constants of a cost model to their times: rates of arithmetic
        and memory, constants of steps, layers and rows. kf simulate and kf advise take the file as --device. With --validate prompts are answered and the time
        of each step is compared with the prediction: steps that nothing was fitted to. An idle machine gives good numbers.

        """;

    private const string Tail = """
        Examples:
          kf profile --model models/small --output measured.json
          kf profile --model models/small --output measured.json --validate prompts.jsonl
          kf profile --model models/small --profile measured.json --validate prompts.jsonl

        Exit codes:
          0    measured
          1    it could not be; one sentence says why
          130  interrupted
        """;

    private static readonly OptionTable Table = new(
        new OptionGroup("Options",
            new Option("--model", "DIR", "model folder"),
            new Option("--output", "FILE", "write the profile as JSON", "standard output"),
            new Option("--validate", "FILE", "prompts as kf run takes them, to compare predictions with"),
            new Option("--profile", "FILE", "validate this profile and measure no other"),
            new Option("--name", "NAME", "what the profile is called", "measured"),
            new Option("--rounds", "N", "times that each step is measured, prompts too; the median counts", "9"),
            new Option("--quick", null, "fewer kinds of steps"),
            new Option("--max-tokens", "N", "most tokens of an answer with --validate, where a line does not say", "64"),
            DeviceChoice.DeviceOption,
            DeviceChoice.ThreadsOption,
            DeviceChoice.PinOption,
            new Option("--token-budget", "N", "most tokens of a step", "512"),
            new Option("--max-sequences", "N", "most sequences of a step", "256"),
            new Option("--kv-memory", "SIZE", "memory for keys and values, as 512M or 2G", "as kf run"),
            new Option("--compute-type", "TYPE", "type of results: f32, bf16 or f16", "as kf run"),
            new Option("--kv-type", "TYPE", "type of keys and values: f32, bf16 or f16", "the compute type"),
            ActivationsOption.Option,
            new Option("--quiet", null, "no progress and no summary on standard error")));

    public static void WriteHelp(TextWriter writer)
    {
        writer.WriteLine(Head);
        Table.WriteHelp(writer);
        writer.WriteLine(Tail);
    }

    public static int Run(ReadOnlySpan<string> arguments, Terminal terminal, CancellationToken stop)
    {
        ParsedOptions parsed = Table.Parse(arguments);
        string? given = parsed.Text("--profile"), prompts = parsed.Text("--validate"), output = parsed.Text("--output");
        if (given is not null && prompts is null) throw new CommandException("--profile needs --validate PROMPTS.jsonl: there is nothing else to do with it.");
        if (given is not null && output is not null) throw new CommandException("--profile and --output exclude each other.");
        using Device device = DeviceChoice.Of(parsed).Open();
        using Profiler profiler = Load(parsed, device, terminal, stop);
        List<Request> requests = prompts is null ? [] : Requests(parsed, profiler, prompts);

        var report = new Report(terminal, parsed.Has("--quiet"));
        try
        {
            if (given is not null) Validate(profiler, DeviceProfile.Read(given), requests, report, stop);
            else Write(Measure(parsed, profiler, requests, report, stop), output, terminal);
        }
        catch (ArgumentException error)
        {
            throw OptionNames.Complaint(error);
        }
        finally
        {
            report.Clear();
        }
        return ExitCodes.Answered;
    }

    private static Profiler Load(ParsedOptions parsed, Device device, Terminal terminal, CancellationToken stop)
    {
        var progress = new LoadProgress(terminal, parsed.Has("--quiet"));
        var standard = new EngineOptions();
        try
        {
            return Profiler.Load(parsed.Required("--model"), standard with
            {
                TokenBudget = parsed.Whole("--token-budget", 1) ?? standard.TokenBudget,
                MaxSequences = parsed.Whole("--max-sequences", 1) ?? standard.MaxSequences,
                KvMemoryBytes = parsed.Size("--kv-memory"),
                ComputeType = RunOptions.TypeOf(parsed, "--compute-type"),
                KvType = RunOptions.TypeOf(parsed, "--kv-type"),
                Activations = ActivationsOption.Of(parsed),
            }, device, progress, stop);
        }
        catch (Exception error) when (error is ArgumentException or OverflowException)
        {
            throw OptionNames.Complaint(error);
        }
        finally
        {
            progress.Clear();
        }
    }

    private static DeviceProfile Measure(ParsedOptions parsed, Profiler profiler, List<Request> requests, Report report, CancellationToken stop)
    {
        string name = parsed.Text("--name") ?? "measured";
        int rounds = parsed.Whole("--rounds", 1, 1000) ?? 9;
        bool isSmall = parsed.Has("--quick");
        if (requests.Count == 0)
        {
            ProfileFit alone = profiler.Profile(name, rounds, isSmall, report, stop);
            report.Fitted(profiler, alone.Error);
            return alone.Profile;
        }
        (ProfileFit fit, PredictionError unseen) = profiler.ProfileAndValidate(name, requests, rounds, isSmall, report, stop);
        report.Fitted(profiler, fit.Error);
        report.Validated(unseen);
        return fit.Profile;
    }

    private static void Validate(Profiler profiler, DeviceProfile profile, List<Request> requests, Report report, CancellationToken stop) =>
        report.Validated(PredictionError.Of(new CostModel(profile, profiler.Model), profiler.Run(requests, progress: report, cancellationToken: stop)));

    private static void Write(DeviceProfile profile, string? output, Terminal terminal)
    {
        if (output is null) terminal.WriteOutput(profile.ToJson() + "\n");
        else File.WriteAllText(output, profile.ToJson() + "\n");
    }

    private static List<Request> Requests(ParsedOptions parsed, Profiler profiler, string path)
    {
        using FileStream stream = RunFiles.OpenRead(path, "--validate");
        var builder = new RequestBuilder(profiler.Tokenizer, ChatTemplate.Load(parsed.Required("--model")), raw: false);
        SamplingOptions defaults = SamplingOptions.Default with { MaxTokens = parsed.Whole("--max-tokens", 1) ?? 64 };
        List<Request> requests = [];
        foreach (PromptRecord record in new PromptReader(defaults).Read(stream))
        {
            Answer answer = builder.Begin(record, requests.Count);
            requests.Add(answer.Request ?? throw new CommandException($"{path}, line {record.LineNumber}: {answer.Error}."));
        }
        return requests.Count > 0 ? requests : throw new CommandException($"--validate {path} has no prompt.");
    }

    /// <summary>What a person sees: how far it is, and what came of it.</summary>
    private sealed class Report(Terminal terminal, bool quiet) : IProgress<double>
    {
        private readonly StatusLine _line = new(terminal, quiet);

        void IProgress<double>.Report(double value) => _line.Show($"measuring steps: {(int)(100 * value)}%");

        public void Clear() => _line.Clear();

        public void Fitted(Profiler profiler, in PredictionError error)
        {
            if (quiet) return;
            Line("device", profiler.Device.Name);
            Line("model", $"{profiler.Model.Name}, {profiler.Model.Parameters} weights");
            Line("fitted to", Text(error));
        }

        /// <summary>Shown even when quiet: it is what was asked for.</summary>
        public void Validated(in PredictionError error) => Line("validated on", Text(error));

        private void Line(string name, string text)
        {
            Clear();
            terminal.Error.WriteLine($"{name,-18}{text}");
        }

        private static string Text(in PredictionError error) => string.Create(CultureInfo.InvariantCulture, $"{error.Steps} steps: median error {100 * error.Median:0.0} %, nine of ten within {100 * error.P90:0.0} %; "
            + $"predicted {error.Total:0.00} of the time measured");
    }
}
