namespace KernelForge.Inference;

/// <summary>What a step would compute, in tokens: what the time of a step depends on.</summary>
/// <param name="Decodes">Sequences that gain one token, without drafts.</param>
/// <param name="DecodeContext">Sum of their context lengths.</param>
/// <param name="PromptTokens">Prompt tokens.</param>
/// <param name="PromptContext">Sum over prompt tokens of the tokens that each attends to.</param>
public readonly record struct StepLoad(int Decodes, long DecodeContext, int PromptTokens, long PromptContext);

/// <summary>How long a step takes: profiled on a device, or from a model of costs.</summary>
public interface IStepTimeModel
{
    /// <summary>Seconds that a step of this load is expected to take.</summary>
    double SecondsOf(in StepLoad load);

    /// <summary>What a step of this load took, for models that learn.</summary>
    void Observe(in StepLoad load, double seconds)
    {
    }
}

/// <summary>How many tokens a step may have. A function of numbers.</summary>
public interface IStepBudget
{
    /// <summary>
    /// Most query tokens of the next step, at least 1. What is beyond <see cref="SchedulerOptions.TokenBudget"/> is cut, and below it no decode is left out
    /// and a prompt advances by a token at least.
    /// </summary>
    /// <param name="decodes">The decoding part of the step: its prompt tokens are 0.</param>
    /// <param name="promptContext">Context length of the prompt that is computed next: of the first one under way, 0 where there is none.</param>
    /// <param name="mostTokens"><see cref="SchedulerOptions.TokenBudget"/>.</param>
    int TokensFor(in StepLoad decodes, int promptContext, int mostTokens);

    /// <summary>What a step took, for budgets that learn: told after every step by whoever knows times.</summary>
    void Observe(in StepLoad load, double seconds)
    {
    }
}

/// <summary>The same number of tokens in every step.</summary>
public sealed class FixedBudget : IStepBudget
{
    /// <inheritdoc/>
    public int TokensFor(in StepLoad decodes, int promptContext, int mostTokens) => mostTokens;
}
