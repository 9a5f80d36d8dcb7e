namespace KernelForge.Inference;

/// <summary>
/// How requests are served, by name: our own and those of other systems as they are published, each as options of the same <see cref="Scheduler"/>. None
/// changes a token.
/// </summary>
public sealed partial class ServingPolicy
{
    private readonly Func<SchedulerOptions, IReadOnlyList<Request>?, IStepTimeModel?, SchedulerOptions> _apply;

    private ServingPolicy(
        string name, string description, Func<SchedulerOptions, IReadOnlyList<Request>?, IStepTimeModel?, SchedulerOptions> apply, bool plansAhead = false) =>
        (Name, Description, _apply, PlansAhead) = (name, description, apply, plansAhead);

    /// <summary>Names that <see cref="Named"/> knows.</summary>
    public static IReadOnlyList<string> Names => KnownNames;

    /// <summary>What it is called on the command line.</summary>
    public string Name { get; }

    /// <summary>What it does, and the assumptions made where it stands for another system.</summary>
    public string Description { get; }

    /// <summary>Whether it does better when it knows all requests before the first one is queued.</summary>
    public bool PlansAhead { get; }

    /// <summary>The policy of that name. Throws <see cref="ArgumentException"/> that lists the names when there is none.</summary>
    public static ServingPolicy Named(string name) =>
        Known.FirstOrDefault(policy => policy.Name == name)
        ?? throw new ArgumentException($"A serving policy is one of {string.Join(", ", Names)}, not '{name}'.", nameof(name));

    /// <summary>
    /// The options of a scheduler that serves by this policy. Those of the machine and of the model are kept: blocks, context length, drafts. The limit of
    /// running sequences and the token budget are set where the policy is published with its own; whoever can carry out less cuts them afterwards.
    /// </summary>
    /// <param name="bare">The numbers to start from.</param>
    /// <param name="knownRequests">All requests in the order in which they will be queued, from the scheduler's first on; null when they are not known.</param>
    /// <param name="time">How long steps take; null when that is not known.</param>
    public SchedulerOptions Apply(SchedulerOptions bare, IReadOnlyList<Request>? knownRequests = null, IStepTimeModel? time = null)
    {
        ArgumentNullException.ThrowIfNull(bare);
        return _apply(bare, knownRequests, time);
    }
}
