namespace KernelForge.Inference;

/// <content>Serving by a policy that looks at all requests first.</content>
public sealed partial class Engine
{
    /// <summary>
    /// Serves by a policy from here on. Its limits are cut to the sizes that the engine was made for; no token changes. Requests that the engine would refuse
    /// are left out of its plans.
    /// </summary>
    /// <param name="policy">How to serve.</param>
    /// <param name="knownRequests">All requests in the order in which they will be added; null when they are not known.</param>
    /// <param name="time">How long steps take; null when that is not known.</param>
    /// <exception cref="InvalidOperationException">A request was added before.</exception>
    public void Use(ServingPolicy policy, IReadOnlyList<Request>? knownRequests = null, IStepTimeModel? time = null)
    {
        ArgumentNullException.ThrowIfNull(policy);
        if (_scheduler.HasWork || _scheduler.Counters.Steps > 0)
            throw new InvalidOperationException("Engine.Use needs an engine without requests so far; this one has or had some.");

        SchedulerOptions made = _scheduler.Options;
        SchedulerOptions chosen = policy.Apply(made, knownRequests is null ? null : [.. knownRequests.Where(Accepts)], time);
        _scheduler = new Scheduler(chosen with
        {
            TokenBudget = Math.Min(chosen.TokenBudget, made.TokenBudget),
            MaxSequences = Math.Min(chosen.MaxSequences, made.MaxSequences),
        });
    }

    private bool Accepts(Request request)
    {
        try
        {
            RequireVocabulary(request);
            _scheduler.RequireFits(request);
            return true;
        }
        catch (ArgumentException)
        {
            return false;
        }
    }
}
