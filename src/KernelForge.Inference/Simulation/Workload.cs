namespace KernelForge.Inference;

/// <summary>Requests for a simulation, by arrival.</summary>
public sealed class Workload
{
    private const string BatchLlm = "batchllm", TwoLevel = "two-level", ShareGpt = "sharegpt", Agents = "agents";

    /// <summary>Sorts the requests by arrival; those that arrive together keep their order.</summary>
    /// <param name="name">For reports.</param>
    /// <param name="requests">At least one.</param>
    /// <param name="lengths">What schedulers are told of the lengths of answers in turns that follow; the requests themselves say it already.</param>
    public Workload(string name, IEnumerable<SimulatedRequest> requests, OutputLengths lengths = OutputLengths.History)
    {
        (Name, Lengths, Requests) = (name, lengths, [.. requests.OrderBy(request => request.Arrival)]);
        if (Requests.Count == 0) throw new ArgumentException($"The workload {name} must have a request at least, it has none.", nameof(requests));
        RequestCount = Requests.Sum(request => request.Turns);
    }

    /// <summary>Names that <see cref="Named"/> knows.</summary>
    public static IReadOnlyList<string> Names { get; } = [BatchLlm, TwoLevel, ShareGpt, Agents];

    /// <summary>For reports.</summary>
    public string Name { get; }

    /// <summary>First turns, by arrival.</summary>
    public IReadOnlyList<SimulatedRequest> Requests { get; }

    /// <summary>Requests with all turns that follow.</summary>
    public int RequestCount { get; }

    /// <summary>What schedulers are told of the lengths of answers.</summary>
    public OutputLengths Lengths { get; }

    /// <summary>Whether all requests are there at the beginning and nothing follows, so that a scheduler can plan the whole job.</summary>
    public bool IsKnownAtStart => Requests[^1].Arrival == TimeSpan.Zero && Requests.All(request => request.Next is null);

    /// <summary>
    /// A generated workload: the same for the same options. Throws <see cref="ArgumentException"/> for an unknown name, saying which there are, and for
    /// options out of range.
    /// </summary>
    public static Workload Named(string name, WorkloadOptions? options = null)
    {
        options ??= new WorkloadOptions();
        options.Validate();
        return name switch
        {
            BatchLlm => new PrefixWorkloads(options).BatchLlm(name),
            TwoLevel => new PrefixWorkloads(options).TwoLevel(name),
            ShareGpt => new ChatWorkloads(options).ShareGpt(name),
            Agents => new ChatWorkloads(options).Agents(name),
            _ => throw new ArgumentException($"Unknown workload '{name}'; there are {string.Join(", ", Names)}.", nameof(name)),
        };
    }

    /// <summary>What a scheduler is told about an answer's length.</summary>
    internal static int? Expected(OutputLengths lengths, int outputTokens, int maxTokens) => lengths switch
    {
        OutputLengths.Oracle => outputTokens,
        OutputLengths.Limit => maxTokens,
        _ => null,
    };
}
