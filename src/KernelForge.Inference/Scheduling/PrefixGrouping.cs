namespace KernelForge.Inference;

/// <summary>A prefix that is computed once and read together.</summary>
/// <param name="PrefixTokens">Its tokens from the start of the prompt, whole blocks.</param>
/// <param name="Members">Sequences that share it: with several levels those of inner groups too, with one level those alone that have no better group.</param>
/// <param name="Parent">Group that this one goes on from, -1 for none: always with one level.</param>
public readonly record struct PrefixGroup(int PrefixTokens, int Members, int Parent);

/// <summary>Which prefixes of a job are computed once, and for whom.</summary>
public sealed class PrefixGrouping
{
    private readonly PrefixGroup[] _groups;
    private readonly int[] _groupOf;

    internal PrefixGrouping(PrefixGroup[] groups, int[] groupOf, long sharedTokens) => (_groups, _groupOf, SharedTokens) = (groups, groupOf, sharedTokens);

    /// <summary>The groups, outer ones before those that go on from them.</summary>
    public ReadOnlySpan<PrefixGroup> Groups => _groups;

    /// <summary>The innermost group of each request, -1 where it has none.</summary>
    public ReadOnlySpan<int> GroupOf => _groupOf;

    /// <summary>Prompt tokens that need not be computed, of all sequences of the job together.</summary>
    public long SharedTokens { get; }
}

/// <summary>Prompt tokens of a job that need not be computed, by how prefixes are shared; all in whole blocks.</summary>
/// <param name="Prompt">All prompt tokens, those of every sample counted.</param>
/// <param name="Unrestricted">Most that can be shared: sharable prompt tokens less those of distinct blocks.</param>
/// <param name="MultiLevel">With the groups of <see cref="GlobalPrefixPlan.Groups"/>.</param>
/// <param name="OneLevel">With one group for each request at most, chosen best.</param>
/// <param name="Greedy">The same, chosen by the published rule (BatchLLM).</param>
/// <param name="FirstLevel">With the first level of the tree as it is.</param>
public readonly record struct SharedTokens(long Prompt, long Unrestricted, long MultiLevel, long OneLevel, long Greedy, long FirstLevel);
