using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary><c>kf advise</c>: batch size, token budget and answer limit for a device, a model and lengths.</summary>
internal static class AdviseCommand
{
    private const string Head = """
        kf advise --device NAME --model NAME (--trace FILE | --workload NAME | --prompt-tokens N --output-tokens N) [options]

        Recommends from a cost model of steps
          how many answers grow at the same time: the smallest number within --efficiency of the most tokens per second, and the memory that leaves free;
          the token budget: the largest multiple of a tile that keeps --time-between-tokens, or without it the one at which throughput saturates;
          the longest answer, where arrivals per second are known: waiting grows with the square of the service time, so that few long answers delay all.

        """;

    private const string Tail = """
        Examples:
          kf advise --device h100 --model opt-1.3b --prompt-tokens 161 --output-tokens 338
          kf advise --device a100 --model mistral-7b --workload sharegpt --rate 2 --time-between-tokens 50
          kf advise --device measured.json --model models/small --trace trace.jsonl --json

        Lengths may be lists, as --output-tokens 100,120,2000. For the longest answer requests are taken to be served in batches that end with their longest
        answer, of the best size up to the recommended one; answers that leave when they end wait less.

        Exit codes:
          0    advised
          1    it could not be; one sentence says why
        """;

    private static readonly OptionTable Table = new(
        new OptionGroup("Options",
            new Option("--device", "NAME", string.Join(", ", DeviceProfile.Known.Select(device => device.Name)) + ", or FILE.json of kf profile", "h100"),
            new Option("--model", "NAME", "such as llama-3-8b, or a model folder", "llama-3-8b"),
            new Option("--weights", "TYPE", "bf16, w8 or w4", "the model's"),
            new Option("--trace", "FILE", "requests as kf simulate takes them"),
            new Option("--workload", "NAME", string.Join(", ", Workload.Names)),
            new Option("--prompt-tokens", "LIST", "lengths of prompts"),
            new Option("--output-tokens", "LIST", "lengths of answers"),
            new Option("--rate", "R", "requests that arrive in a second", "the trace's; without it no limit is recommended"),
            new Option("--efficiency", "E", "share of the most tokens per second to reach", "0.9"),
            new Option("--time-between-tokens", "MS", "longest step in milliseconds", "any"),
            new Option("--penalty", "S", "seconds of waiting that a cut answer is as bad as", "60"),
            new Option("--json", null, "write one JSON object")));

    public static void WriteHelp(TextWriter writer)
    {
        writer.WriteLine(Head);
        Table.WriteHelp(writer);
        writer.WriteLine(Tail);
    }

    public static int Run(ReadOnlySpan<string> arguments, Terminal terminal)
    {
        ParsedOptions parsed = Table.Parse(arguments);
        try
        {
            var advice = Advice.Of(SimulateOptions.CostOf(parsed), LengthsOf(parsed), TargetsOf(parsed));
            terminal.WriteOutput(parsed.Has("--json") ? advice.ToJson() : advice.ToText());
        }
        catch (ArgumentException error)
        {
            throw OptionNames.Complaint(error);
        }
        return ExitCodes.Answered;
    }

    private static AdviceTargets TargetsOf(ParsedOptions parsed) => new(
        parsed.Number("--efficiency", 0.01f, 1) ?? 0.9,
        parsed.Number("--time-between-tokens", 0.001f, 1e9f) is { } milliseconds ? TimeSpan.FromMilliseconds(milliseconds) : null,
        parsed.Number("--penalty", 0, 1e9f) ?? 60,
        parsed.Number("--rate", 1e-6f, 1e9f));

    private static RequestLengths LengthsOf(ParsedOptions parsed)
    {
        string? trace = parsed.Text("--trace"), workload = parsed.Text("--workload"), outputs = parsed.Text("--output-tokens");
        if (new[] { trace, workload, outputs }.Count(text => text is not null) != 1)
            throw new CommandException("One of --trace FILE, --workload NAME and --output-tokens N, with --prompt-tokens N, must be given.");
        if (outputs is not null) return RequestLengths.Of(Whole("--prompt-tokens", parsed.Required("--prompt-tokens")), Whole("--output-tokens", outputs));
        if (workload is not null) return RequestLengths.Of(Workload.Named(workload));
        using FileStream stream = RunFiles.OpenRead(trace!, "--trace");
        return RequestLengths.Of(TraceReader.Read(stream, trace!));
    }

    private static List<int> Whole(string option, string text)
    {
        List<int> numbers = [];
        foreach (string part in text.Split(','))
        {
            bool isGood = int.TryParse(part, out int number) && number > 0;
            numbers.Add(isGood ? number : throw new CommandException(
                $"{option} must be whole numbers above 0 with commas between, not '{text}'."));
        }
        return numbers;
    }
}
