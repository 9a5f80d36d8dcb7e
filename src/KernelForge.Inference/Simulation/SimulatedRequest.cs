namespace KernelForge.Inference;

/// <summary>A request of a workload: what is asked, when, and how many tokens the answer will have. Immutable.</summary>
public sealed class SimulatedRequest
{
    /// <summary>
    /// Throws <see cref="ArgumentException"/> when the arrival is negative, the answer has no token or more than the request's limit, or the request has
    /// several samples or does not end at the end token.
    /// </summary>
    /// <param name="request">What is asked. Its <see cref="Request.Timeout"/> is a goal that is counted; nothing is ended by it.</param>
    /// <param name="arrival">When, since the beginning of the simulation.</param>
    /// <param name="outputTokens">Tokens of the answer, its end token included. The scheduler does not see the number.</param>
    public SimulatedRequest(Request request, TimeSpan arrival, int outputTokens)
    {
        SamplingOptions sampling = request.Sampling;
        if (arrival < TimeSpan.Zero) throw new ArgumentException($"A request must arrive at 0 s or later, not at {arrival.TotalSeconds} s.", nameof(arrival));
        if (outputTokens < 1 || outputTokens > sampling.MaxTokens)
            throw new ArgumentException($"An answer must have 1 token to the limit of {sampling.MaxTokens}, not {outputTokens}.", nameof(outputTokens));
        if (sampling.N != 1 || sampling.IgnoreEndToken || sampling.MinTokens > 0)
            throw new ArgumentException("A simulated request must have one sample that ends at the end token; expected N = 1, IgnoreEndToken = false, MinTokens = 0, "
                + $"got N = {sampling.N}, IgnoreEndToken = {sampling.IgnoreEndToken}, MinTokens = {sampling.MinTokens}.", nameof(request));

        (Request, Arrival, OutputTokens) = (request, arrival, outputTokens);
    }

    /// <summary>What is asked.</summary>
    public Request Request { get; }

    /// <summary>When it is asked, since the beginning of the simulation.</summary>
    public TimeSpan Arrival { get; }

    /// <summary>Tokens of the answer, its end token included.</summary>
    public int OutputTokens { get; }

    /// <summary>What is asked once this one is answered; null when nothing is.</summary>
    public FollowUp? Next { get; init; }

    /// <summary>The turns from this one on, itself included.</summary>
    public int Turns
    {
        get
        {
            int turns = 1;
            for (FollowUp? next = Next; next is not null; next = next.Next) turns++;
            return turns;
        }
    }
}

/// <summary>The next turn of a conversation. Its prompt is the prompt before it, the answer to that, and new tokens.</summary>
/// <param name="Think">Time from the end of the turn before to the arrival of this one: a tool that runs, a person who reads.</param>
/// <param name="NewTokens">Token ids after the previous prompt and answer, at least one.</param>
/// <param name="MaxTokens">Limit of the answer.</param>
/// <param name="OutputTokens">Tokens of the answer, at most the limit.</param>
public sealed record FollowUp(TimeSpan Think, IReadOnlyList<int> NewTokens, int MaxTokens, int OutputTokens)
{
    /// <summary>The turn after this one; null when this is the last.</summary>
    public FollowUp? Next { get; init; }
}
