namespace KernelForge.Inference;

/// <summary>The KV blocks of one sequence, as admission sees them: what it has, what it may come to, what it is expected to come to.</summary>
/// <param name="Held">
/// Blocks in use that are counted for it: those it holds alone and, of those it shares, the ones that it is expected to hold longest. So every
/// block in use is counted for one running sequence. For a candidate: cached blocks that nobody holds and it would pin.
/// </param>
/// <param name="Known">Blocks it lacks for the tokens it has now.</param>
/// <param name="Remaining">Blocks it lacks if it grows to its limit; never less than <paramref name="Known"/>.</param>
public readonly record struct KvDemand(int Held, int Known, int Remaining)
{
    /// <summary>Tokens it has now, the prompt included.</summary>
    public int Length { get; init; }

    /// <summary>Most tokens it may come to.</summary>
    public int MaxLength { get; init; }

    /// <summary>Leading blocks of its own that are counted for another sequence.</summary>
    public int CountedElsewhere { get; init; }

    /// <summary>Tokens it is expected to gain, this step's included: what <see cref="IAdmission.TokensLeft"/> said, at least 1.</summary>
    public int TokensLeft { get; init; }

    /// <summary>Fewest steps after this one until its prompt is computed; what it generates comes after them.</summary>
    public int PromptSteps { get; init; }

    /// <summary>Most steps after this one in which it is expected to run, if outputs come out as expected.</summary>
    public int StepsLeft { get; init; }

    /// <summary>For a candidate: blocks counted for others that it is expected to hold longer than they do.</summary>
    public int Kept { get; init; }

    /// <summary>Steps after this one in which they hold all of these.</summary>
    public int KeptAfter { get; init; }
}

/// <summary>What a sequence has generated and may still generate, in tokens.</summary>
/// <param name="Sequence"><see cref="Inference.Sequence.Id"/>, for draws that are its own.</param>
/// <param name="TaskClass"><see cref="Request.TaskClass"/>.</param>
/// <param name="Generated">Tokens it has generated.</param>
/// <param name="MostLeft">Most tokens that may still come, at least 1.</param>
/// <param name="Expected"><see cref="Request.ExpectedTokens"/>.</param>
public readonly record struct OutputSoFar(long Sequence, string TaskClass, int Generated, int MostLeft, int? Expected);

/// <summary>The output of a sequence that came to its own end; of cancelled ones nothing is heard.</summary>
/// <param name="TaskClass"><see cref="Request.TaskClass"/>.</param>
/// <param name="Tokens">Tokens it generated.</param>
public readonly record struct EndedOutput(string TaskClass, int Tokens);

/// <summary>Whether waiting sequences may run. Immutable: one description serves any number of schedulers.</summary>
public interface IAdmissionPolicy
{
    /// <summary>The policy at work in one scheduler.</summary>
    IAdmission For(SchedulerOptions options);
}

/// <summary>
/// A policy at work in one scheduler: a function of numbers, and of the outputs that ended. A candidate that is refused stays first in line; it is
/// asked for again when a sequence has ended or another is first. Not asked when nothing runs: then the first may.
/// </summary>
public interface IAdmission
{
    /// <summary>How many tokens more the sequence is expected to generate, 1 to <see cref="OutputSoFar.MostLeft"/>: by default what was said of it, else the most.</summary>
    int TokensLeft(in OutputSoFar output) =>
        output.Expected is { } expected && expected > output.Generated ? Math.Min(expected - output.Generated, output.MostLeft) : output.MostLeft;

    /// <summary>Starts a pass over candidates beside these running sequences, in a pool with <paramref name="capacity"/> blocks for them all.</summary>
    void Begin(ReadOnlySpan<KvDemand> running, int capacity);

    /// <summary>Whether <paramref name="candidate"/> may join the running ones, to which it then belongs.</summary>
    bool TryAdmit(in KvDemand candidate);

    /// <summary>Learns from an output that ended.</summary>
    void Ended(in EndedOutput ended)
    {
    }
}
