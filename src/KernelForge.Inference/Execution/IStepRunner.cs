namespace KernelForge.Inference;

/// <summary>Carries a plan out: a model, a draft and a target, or a simulated clock.</summary>
public interface IStepRunner
{
    /// <summary>Most tokens a sequence can gain in a step: 1, or 1 + draft length. The scheduler reserves this many slots.</summary>
    int MaxTokensPerStep { get; }

    /// <summary>What attention has read since the runner was made; zero where it does not count.</summary>
    KvReads KvReads => default;

    /// <summary>What drafts have come to; null for a runner that drafts nothing.</summary>
    SpeculationCounters? Speculation => null;

    /// <summary>What a step costs, as measured so far; all zero when the runner does not measure.</summary>
    StepCost StepCost => default;

    /// <summary>
    /// Computes KV for every row and chooses tokens for the rows that sample. The result may be the same object every time.
    /// A row's tokens must not depend on the rows beside it.
    /// </summary>
    StepResult Run(StepPlan plan);
}
