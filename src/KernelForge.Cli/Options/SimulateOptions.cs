using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary>What <c>kf simulate</c> was asked for.</summary>
internal sealed record SimulateOptions
{
    public static OptionTable Table { get; } = new(
        new OptionGroup("Requests",
            new Option("--workload", "NAME", string.Join(", ", Workload.Names)),
            new Option("--trace", "FILE", "JSON lines instead of a workload"),
            new Option("--requests", "N", "how many; the first ones of a trace", "as many as the workload has"),
            new Option("--rate", "R", "arrivals per second, a Poisson process", "all at the beginning"),
            new Option("--seed", "S", "of the workload", "1"),
            new Option("--lengths", "WHAT", "what policies know of an answer's length: oracle, history (those that ended) or limit", "history")),
        new OptionGroup("System",
            new Option("--policy", "NAMES", "one policy, or several with commas between", "kernelforge"),
            new Option("--device", "NAME", string.Join(", ", DeviceProfile.Known.Select(device => device.Name)) + ", or FILE.json of kf profile", "h100"),
            new Option("--model", "NAME", "such as llama-3-8b, or a model folder", "llama-3-8b"),
            new Option("--prefix-reads", "HOW", "once for all sequences of a step that share a prefix, each for each of them", "once for our policies, each for the systems they stand beside"),
            new Option("--weights", "TYPE", "bf16, w8 or w4", "the model's"),
            new Option("--token-budget", "N", "most tokens of a step", "2048"),
            new Option("--max-sequences", "N", "most answers that grow at the same time, where a policy has no number of its own", "256"),
            new Option("--kv-blocks", "N", "blocks of keys and values", "what fits beside the model"),
            new Option("--block-size", "N", "token positions in a block", "16"),
            new Option("--draft-length", "K", "tokens drafted for an answer in a step", "0"),
            new Option("--draft-acceptance", "P", "probability that a drafted token is right when those before it are", "0.7"),
            new Option("--draft-model", "NAME", "a known model that drafts", "none: drafts cost nothing")),
        new OptionGroup("Report",
            new Option("--slo-ttft", "S", "longest wait for the first token, in seconds, that counts for the goodput"),
            new Option("--slo-tbt", "S", "longest time between two tokens, in seconds, that counts for the goodput"),
            new Option("--svg", "FILE", "draw tokens per step, KV in use and the queue over time"),
            new Option("--json", null, "write one JSON object instead of a table"),
            new Option("--quiet", null, "no progress on standard error")));

    public string? Trace { get; private init; }

    /// <summary>Name of a workload where there is no trace.</summary>
    public string WorkloadName { get; private init; } = "";

    public required WorkloadOptions Requests { get; init; }

    public required IReadOnlyList<ServingPolicy> Policies { get; init; }

    public required CostModel Cost { get; init; }

    public required SchedulerOptions Scheduler { get; init; }

    /// <summary>Whether attention reads a prefix once; null where the policy says.</summary>
    public bool? SharesPrefixReads { get; private init; }

    public int DraftLength { get; private init; }

    public double DraftAcceptance { get; private init; }

    public TimeSpan? FirstTokenTarget { get; private init; }

    public TimeSpan? TimeBetweenTokensTarget { get; private init; }

    public string? Svg { get; private init; }

    public bool Json { get; private init; }

    public bool Quiet { get; private init; }

    /// <summary>Throws <see cref="CommandException"/> for what cannot be simulated.</summary>
    public static SimulateOptions Parse(ReadOnlySpan<string> arguments)
    {
        ParsedOptions parsed = Table.Parse(arguments);
        string? trace = parsed.Text("--trace"), workload = parsed.Text("--workload");
        if (trace is null == workload is null) throw new CommandException($"Either --workload ({string.Join(", ", Workload.Names)}) or --trace FILE must be given.");
        if (trace is not null && parsed.Has("--rate")) throw new CommandException("--rate is for workloads; a trace says when its requests arrive.");
        try
        {
            CostModel cost = CostOf(parsed);
            return new SimulateOptions
            {
                Trace = trace,
                WorkloadName = workload ?? "",
                Requests = RequestsOf(parsed),
                Policies = [.. (parsed.Text("--policy") ?? "kernelforge").Split(',', StringSplitOptions.TrimEntries).Select(ServingPolicy.Named)],
                Cost = cost,
                Scheduler = SchedulerOf(parsed, cost),
                SharesPrefixReads = parsed.Choice("--prefix-reads", ("once", true), ("each", false)),
                DraftLength = parsed.Whole("--draft-length", 0, 16) ?? 0,
                DraftAcceptance = parsed.Number("--draft-acceptance", 0, 1) ?? 0.7f,
                FirstTokenTarget = SecondsOf(parsed, "--slo-ttft"),
                TimeBetweenTokensTarget = SecondsOf(parsed, "--slo-tbt"),
                Svg = parsed.Text("--svg"),
                Json = parsed.Has("--json"),
                Quiet = parsed.Has("--quiet"),
            };
        }
        catch (ArgumentException error)
        {
            throw OptionNames.Complaint(error);
        }
    }

    private static WorkloadOptions RequestsOf(ParsedOptions parsed) => new()
    {
        Requests = parsed.Whole("--requests", 1),
        Rate = parsed.Number("--rate", 1e-6f, float.MaxValue),
        Seed = parsed.Seed("--seed") ?? 1,
        Lengths = parsed.Choice("--lengths", ("oracle", OutputLengths.Oracle), ("history", OutputLengths.History), ("limit", OutputLengths.Limit)) ?? OutputLengths.History,
    };

    /// <summary>The cost model of --device, --model and --weights, and of a --draft-model.</summary>
    internal static CostModel CostOf(ParsedOptions parsed)
    {
        string device = parsed.Text("--device") ?? "h100", name = parsed.Text("--model") ?? "llama-3-8b";
        DeviceProfile profile = device.EndsWith(".json", StringComparison.OrdinalIgnoreCase) ? DeviceProfile.Read(device) : DeviceProfile.Named(device);
        ModelShape model = Directory.Exists(name) ? ModelShape.Of(ModelConfig.Load(name)) : ModelShape.Named(name);
        double? bits = parsed.Choice("--weights", ("bf16", 16.0), ("w8", 8.0), ("w4", 4.0));
        return new CostModel(profile, model with { WeightBits = bits ?? model.WeightBits })
        {
            Draft = parsed.Text("--draft-model") is { } draft ? ModelShape.Named(draft) : null,
        };
    }

    private static SchedulerOptions SchedulerOf(ParsedOptions parsed, CostModel cost)
    {
        int blockSize = parsed.Whole("--block-size", 1, 1024) ?? 16;
        return new SchedulerOptions
        {
            BlockCount = parsed.Whole("--kv-blocks", 1, 1 << 24) ?? CostModel.KvBlocksOf(cost.Device, cost.Model, blockSize),
            BlockSize = blockSize,
            ContextLength = cost.Model.MaxContext,
            TokenBudget = parsed.Whole("--token-budget", 1) ?? 2048,
            MaxSequences = parsed.Whole("--max-sequences", 1) ?? 256,
        };
    }

    private static TimeSpan? SecondsOf(ParsedOptions parsed, string name) => parsed.Number(name, 0, 1e9f) is { } seconds ? TimeSpan.FromSeconds(seconds) : null;
}
