namespace KernelForge.Tests;

/// <summary>
/// What a <see cref="HashRunner"/> drafts, as an adversary who knows the right tokens: as many right ones as the value says, then a wrong one; those after it
/// would be right again if it were.
/// </summary>
public enum DraftOutcome
{
    AllWrong = 0,
    RightForTwo = 2,
    AllRight = 1000,

    /// <summary>Draws how many tokens are drafted, from none on, and which of them are right.</summary>
    Random = -1,
}

/// <summary>Well-known ways to get batched speculation wrong (arXiv:2510.22876, table 3).</summary>
public enum DraftFlaw
{
    None,

    /// <summary>The token after the last accepted one is the draft's, not the target's.</summary>
    BonusFromDraft,

    /// <summary>KV of rejected tokens stays visible: the computed length is not rolled back.</summary>
    RejectedKvKept,

    /// <summary>A mask of ones: a drafted token sees those beside it.</summary>
    SiblingsVisible,
}
