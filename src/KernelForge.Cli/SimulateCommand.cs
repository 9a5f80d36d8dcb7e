using System.Text;
using System.Text.Json;
using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary><c>kf simulate</c>: how a policy would serve requests, on the scheduler that <c>kf run</c> uses and a model of what steps cost.</summary>
internal static class SimulateCommand
{
    private const string Head = """
        kf simulate (--workload NAME | --trace FILE) [--policy NAME[,NAME]] [options]

        Shows how long requests would take on a device that need not be there. The scheduler is the one of kf run; steps are not computed but take the time
        that a cost model says, so that 6,400 requests take seconds. Several policies are shown side by side, with ratios to the first one.

        Workloads:
          batchllm   6,400 requests, 16 for each prefix of 2,000 tokens, 200 tokens of their own, 100 of output, shuffled (BatchLLM)
          two-level  6,400 questions about documents below one system prompt; few documents have many questions
          sharegpt   2,000 requests with lengths like ShareGPT: 161 tokens of prompt and 338 of output on average
          agents     2,000 turns of agents whose context grows, with pauses while tools run

        A line of a trace is {"arrival":0.5,"prompt_tokens":2200,"output_tokens":100}, arrival in seconds and ascending. It may have prefix_id and prefix_tokens
        (prompts with the same id begin alike), prompt_token_ids instead of prompt_tokens, max_tokens, class, tenant, priority, timeout in seconds, id.

        """;

    private const string Tail = """
        Examples:
          kf simulate --workload batchllm --policy kernelforge,vllm,sglang,static --device h100 --model llama-3-8b
          kf simulate --workload sharegpt --rate 20 --policy kernelforge-online,vllm --slo-ttft 2 --slo-tbt 0.1 --svg timeline.svg
          kf simulate --trace trace.jsonl --policy past-future,aggressive,reserve-all --kv-blocks 4000 --lengths oracle --json
          kf simulate --workload sharegpt --weights w4 --draft-length 4 --draft-acceptance 0.7

        Saved prompt tokens are those not computed because others with the same beginning had been; the optimum computes every block once and keeps it.
        KV utilisation is the share of blocks in use while requests wait. Goodput counts requests that met the targets and their own timeout.

        Exit codes:
          0    simulated
          1    nothing could be simulated; one sentence says why
          2    simulated, and some requests were refused because they can never fit
          130  interrupted
        """;

    public static void WriteHelp(TextWriter writer)
    {
        writer.WriteLine(Head);
        SimulateOptions.Table.WriteHelp(writer);
        writer.WriteLine("Policies:");
        foreach (string name in ServingPolicy.Names) WritePolicy(writer, name, ServingPolicy.Named(name).Description);
        writer.WriteLine();
        writer.WriteLine(Tail);
    }

    /// <summary>The description beside the name, in lines of readable width.</summary>
    private static void WritePolicy(TextWriter writer, string name, string description)
    {
        const int Column = 22, Width = 150;
        string line = $"  {name}".PadRight(Column);
        foreach (string word in description.Split(' '))
        {
            if (line.Length + word.Length > Width)
            {
                writer.WriteLine(line.TrimEnd());
                line = new string(' ', Column);
            }
            line += word + " ";
        }
        writer.WriteLine(line.TrimEnd());
    }

    public static int Run(ReadOnlySpan<string> arguments, Terminal terminal, CancellationToken stop)
    {
        SimulateOptions options = SimulateOptions.Parse(arguments);
        Workload workload = WorkloadOf(options);
        var reports = new List<SimulationReport>();
        foreach (ServingPolicy policy in options.Policies) reports.Add(Simulate(options, workload, policy, new StatusLine(terminal, options.Quiet), stop));

        if (reports.Find(report => report.Completed == 0) is { } empty)
            throw new CommandException($"No request of {workload.Name} can run. {empty.Refusal}");
        if (options.Svg is { } path)
        {
            using var svg = new StreamWriter(path);
            Timeline.WriteSvg(svg, reports);
        }
        terminal.WriteOutput(options.Json ? JsonOf(reports) : TextOf(options, reports));
        if (reports.Find(report => report.Refused > 0) is not { } refused) return ExitCodes.Answered;
        terminal.Error.WriteLine($"kf: {refused.Refused} of {refused.Requests} requests were refused; the first one because: {refused.Refusal}");
        return ExitCodes.SomeLinesFailed;
    }

    private static Workload WorkloadOf(SimulateOptions options)
    {
        if (options.Trace is { } path)
        {
            using FileStream trace = RunFiles.OpenRead(path, "--trace");
            return TraceReader.Read(trace, path, options.Requests.Lengths, options.Requests.Requests ?? int.MaxValue);
        }
        try
        {
            return Workload.Named(options.WorkloadName, options.Requests);
        }
        catch (ArgumentException error)
        {
            throw OptionNames.Complaint(error);
        }
    }

    private static SimulationReport Simulate(SimulateOptions options, Workload workload, ServingPolicy policy, StatusLine status, CancellationToken stop)
    {
        int total = workload.RequestCount, shown = -1;
        var simulation = new SimulationOptions
        {
            Scheduler = policy.Apply(options.Scheduler, policy.PlansAhead ? KnownRequests(workload, options.Scheduler) : null, options.Cost),
            SecondsOf = shape => options.Cost.SecondsOf(shape),
            SharesPrefixReads = options.SharesPrefixReads ?? policy.SharesPrefixReads,
            DraftLength = options.DraftLength,
            DraftAcceptance = options.DraftAcceptance,
            FirstTokenTarget = options.FirstTokenTarget,
            TimeBetweenTokensTarget = options.TimeBetweenTokensTarget,
            Progress = Show,
        };
        SimulationReport report = Simulator.Run(workload, simulation, stop);
        status.Clear();
        return report with { Policy = policy.Name, Device = options.Cost.Device.Name, Model = options.Cost.Model.Name, Planned = simulation.Scheduler.PrefixPlan?.Shared };

        void Show(int ended)
        {
            int percent = (int)(100L * ended / total);
            if (percent == shown) return;
            shown = percent;
            status.Show($"{policy.Name}: {percent}% of {total} requests");
        }
    }

    /// <summary>What a policy may plan with: the requests that the scheduler will take, in the order in which they are added; null when more come later.</summary>
    private static List<Request>? KnownRequests(Workload workload, SchedulerOptions options) =>
        workload.IsKnownAtStart ? [.. workload.Requests.Select(request => request.Request).Where(request => Fits(request, options))] : null;

    private static bool Fits(Request request, SchedulerOptions options)
    {
        long prompt = request.PromptTokenIds.Length, most = Math.Min(options.ContextLength, prompt + request.Sampling.MaxTokens);
        return prompt < options.ContextLength && most <= (long)options.BlockCount * options.BlockSize + 1;
    }

    private static string TextOf(SimulateOptions options, IReadOnlyList<SimulationReport> reports)
    {
        using var text = new StringWriter();
        SimulationTable.Write(text, reports, options.Scheduler.TokenBudget);
        return text.ToString();
    }

    private static string JsonOf(List<SimulationReport> reports)
    {
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true, NewLine = "\n" }))
        {
            if (reports.Count == 1)
            {
                reports[0].WriteJson(json);
            }
            else
            {
                json.WriteStartObject();
                json.WriteStartArray("runs");
                foreach (SimulationReport report in reports) report.WriteJson(json);
                json.WriteEndArray();
                json.WriteEndObject();
            }
        }
        return Encoding.UTF8.GetString(stream.ToArray()) + "\n";
    }
}
