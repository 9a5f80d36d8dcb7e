namespace KernelForge.Inference;

/// <summary>
/// Admission as SGLang has it: running sequences are expected to generate a share of what they still may, a candidate all of it. The share falls with every
/// pass and is raised to where it began when a sequence was sent back to the queue.
/// </summary>
/// <remarks>
/// Published: the share begins at 0.7, falls to 0.14 of that in 600 decode steps, and what may still come is cut to 4,096 tokens. After a retraction SGLang sets
/// the share by what the running sequences have generated, here it is the first one again; a pass needs a step with room for more.
/// </remarks>
public sealed class NewTokenRatioAdmission : IAdmissionPolicy
{
    private const int MostTokens = 4096;

    /// <summary>Throws <see cref="ArgumentException"/> when a number is out of range.</summary>
    /// <param name="first">Share at the beginning, above 0 and at most 1.</param>
    /// <param name="least">Share that it falls to, 0 to <paramref name="first"/>.</param>
    /// <param name="passes">Passes in which it does, 1 or more.</param>
    public NewTokenRatioAdmission(double first = 0.7, double least = 0.098, int passes = 600)
    {
        if (first is not (> 0 and <= 1))
            throw new ArgumentException($"NewTokenRatioAdmission: the first share must be above 0 and at most 1, not {first}.", nameof(first));
        if (!(least >= 0 && least <= first))
            throw new ArgumentException($"NewTokenRatioAdmission: the least share must be 0 to {first}, not {least}.", nameof(least));
        if (passes < 1) throw new ArgumentException($"NewTokenRatioAdmission: it must fall in 1 pass or more, not {passes}.", nameof(passes));
        (First, Least, Passes) = (first, least, passes);
    }

    /// <summary>Share at the beginning.</summary>
    public double First { get; }

    /// <summary>Share that it falls to.</summary>
    public double Least { get; }

    /// <summary>Passes in which it does.</summary>
    public int Passes { get; }

    /// <inheritdoc/>
    public IAdmission For(SchedulerOptions options) => new Ratio(this, (MostTokens + options.BlockSize - 1) / options.BlockSize);

    private sealed class Ratio(NewTokenRatioAdmission policy, int mostBlocks) : IAdmission
    {
        private double _ratio = policy.First, _expected;
        private int _members, _capacity;

        public void Begin(ReadOnlySpan<KvDemand> running, int capacity)
        {
            bool retracted = running.Length < _members;
            _ratio = retracted ? policy.First : Math.Max(policy.Least, _ratio - (policy.First - policy.Least) / policy.Passes);
            (_members, _capacity, _expected) = (running.Length, capacity, 0);
            foreach (ref readonly KvDemand demand in running) _expected += ExpectedOf(demand, _ratio);
        }

        public bool TryAdmit(in KvDemand candidate)
        {
            double expected = ExpectedOf(candidate, 1);
            if (_expected + expected > _capacity) return false;
            _expected += expected;
            _members++;
            return true;
        }

        public void Ended(in EndedOutput ended) => _members--;

        private double ExpectedOf(in KvDemand demand, double ratio) =>
            demand.Held + (double)demand.Known + ratio * Math.Min(demand.Remaining - demand.Known, mostBlocks);
    }
}
