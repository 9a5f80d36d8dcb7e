namespace KernelForge.Inference;

/// <summary>What Past-Future admission may be told.</summary>
public sealed record PastFutureOptions
{
    /// <summary>Share of the blocks that is never planned for, against outputs that grow longer than expected; 0 and more, below 1.</summary>
    public double Reserve { get; init; } = 0.05;

    /// <summary>How many ended outputs of a task class are remembered.</summary>
    public int Window { get; init; } = 1000;

    /// <summary>Outputs of unknown length, taken to be as long as they may be, that a task class starts with; ended ones take their places.</summary>
    public int FirstUnknown { get; init; } = 32;

    internal void Validate()
    {
        if (Reserve is not (>= 0 and < 1)) throw new ArgumentOutOfRangeException(nameof(Reserve), Reserve, "Expected a share of 0 or more and below 1.");
        if (Window < 1) throw new ArgumentOutOfRangeException(nameof(Window), Window, "Expected 1 output or more.");
        if (FirstUnknown < 0) throw new ArgumentOutOfRangeException(nameof(FirstUnknown), FirstUnknown, "Expected 0 outputs or more.");
    }
}

/// <summary>
/// Admits when the blocks in use at the worst of all future steps fit, if everything admitted runs to its expected end: the Past-Future scheduler
/// of LightLLM, arXiv:2507.10150.
/// </summary>
public sealed class PastFutureAdmission : IAdmissionPolicy
{
    /// <summary>Throws <see cref="ArgumentOutOfRangeException"/> when an option is out of range.</summary>
    public PastFutureAdmission(PastFutureOptions? options = null)
    {
        Options = options ?? new PastFutureOptions();
        Options.Validate();
    }

    /// <summary>What it was told.</summary>
    public PastFutureOptions Options { get; }

    /// <inheritdoc/>
    public IAdmission For(SchedulerOptions options) => new Future(Options, options);

    private sealed class Future(PastFutureOptions options, SchedulerOptions scheduler) : IAdmission
    {
        private readonly OutputLengthHistory _history = new(options.Window, options.FirstUnknown);
        private readonly FuturePeak _peak = new(scheduler.BlockSize, scheduler.MaxTokensPerStep);
        private FutureUse[] _uses = [];
        private long _capacity;

        public int TokensLeft(in OutputSoFar output)
        {
            if (output.Expected is { } expected && expected > output.Generated) return Math.Min(expected - output.Generated, output.MostLeft);
            return _history.TokensLeft(output, QuantileOf(output.Sequence));
        }

        public void Begin(ReadOnlySpan<KvDemand> running, int capacity)
        {
            if (_uses.Length < running.Length) _uses = new FutureUse[2 * running.Length];
            for (int i = 0; i < running.Length; i++) _uses[i] = UseOf(running[i]);
            _peak.Prepare(_uses.AsSpan(0, running.Length));
            _capacity = (long)(capacity * (1 - options.Reserve));
        }

        public bool TryAdmit(in KvDemand candidate)
        {
            FutureUse use = UseOf(candidate);
            if (_peak.PeakWith(use) > _capacity) return false;
            _peak.Add(use);
            return true;
        }

        public void Ended(in EndedOutput ended) => _history.Add(ended);

        /// <summary>Each sequence has one quantile of its own; those of neighbours are spread as evenly as can be, so that together they are like the history.</summary>
        private static double QuantileOf(long sequence)
        {
            const double GoldenRatio = 0.6180339887498949;
            double place = sequence * GoldenRatio;
            return place - Math.Floor(place);
        }

        /// <summary>A row reserves slots for drafts beyond the token it is sure to gain; the last token needs none.</summary>
        private FutureUse UseOf(in KvDemand demand)
        {
            int drafts = scheduler.MaxTokensPerStep - 1, elsewhere = demand.CountedElsewhere * scheduler.BlockSize;
            int final = Math.Min(demand.MaxLength - 1, demand.Length + demand.TokensLeft - 1 + drafts) - elsewhere;
            int held = (demand.Held - 1) * scheduler.BlockSize + 1; // fewest slots that take as many blocks
            int slots = Math.Max(Math.Min(final, demand.Length - elsewhere + drafts), held);
            return new FutureUse(slots, Math.Max(slots, final), demand.PromptSteps, demand.StepsLeft, demand.Kept, demand.KeptAfter);
        }
    }
}
