namespace KernelForge.Inference;

/// <summary>Proposes tokens that the target model then verifies. What it proposes decides how fast a step is, never what its tokens are.</summary>
public interface IDrafter : IDisposable
{
    /// <summary>Longest chain of tokens that it proposes for a sequence in a step, at least 1.</summary>
    int MaxDraftLength { get; }

    /// <summary>
    /// Proposes up to <see cref="PlanRow.DraftTokens"/> tokens for every row, in chains of less than <see cref="PlanRow.MaxTokens"/>; none for rows that do not
    /// sample. Called before the target model computes the plan.
    /// </summary>
    void Draft(StepPlan plan, DraftBatch drafts);

    /// <summary>Told what the target model made of the drafts, before the plan is committed.</summary>
    void Observe(StepPlan plan, DraftBatch drafts, StepResult result);
}
