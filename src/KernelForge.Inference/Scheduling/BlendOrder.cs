namespace KernelForge.Inference;

/// <summary>
/// An order that blends requests bound by computing with requests bound by memory and keeps those that share a prefix together (BlendServe): what goes on from
/// a prefix is sorted by its density, and the queue takes from both ends so that the blend has the density of the whole job.
/// </summary>
/// <remarks>
/// The density of a node is the time that it computes, shared prefixes once, over the time that it reads KV:
/// <code>
/// ρ = (1 - s)·comp / mem       comp = (p + d)·seconds per token       mem = (p·d + d²/2)·seconds per token and step
/// M_L / M = (ρ_root - ρ_R) / (ρ_L - ρ_R)                              M_R = M - M_L
/// </code>
/// with prompt p, output d and the densities of the groups at the left end L, densest first, and the right end R. KV reads are proportional to memory times the
/// steps it is held, so the next request comes from the end that is behind its share of them. Outliers stay with their groups.
/// </remarks>
public sealed class BlendOrder : IQueueOrder
{
    private readonly PrefixGroupOrder _policy;
    private readonly int[] _order;

    /// <summary>Makes the order. Throws <see cref="ArgumentException"/> when a number is not positive.</summary>
    /// <param name="plan">The job.</param>
    /// <param name="secondsPerToken">Time to compute a token.</param>
    /// <param name="secondsPerKvToken">Time to read the KV of one token of a context in one step.</param>
    public BlendOrder(GlobalPrefixPlan plan, double secondsPerToken, double secondsPerKvToken)
    {
        double weight = Positive(secondsPerToken, nameof(secondsPerToken)) / Positive(secondsPerKvToken, nameof(secondsPerKvToken));
        PromptTree tree = SortByDensity(plan, weight);
        int[] places = Scan(tree, plan.MakeWork(tree), weight, out int met);

        int[] firsts = GlobalPrefixPlan.FirstSequences(plan.Requests), ranks = GlobalPrefixPlan.RanksOf(places, firsts);
        _policy = new PrefixGroupOrder(ranks);
        _order = [.. firsts.Select(first => ranks[first])];
        SharedTokens = plan.Shared.Unrestricted - TokensOnBothSides(tree, met);
    }

    /// <summary>Place of each request, 0 for the first.</summary>
    public ReadOnlySpan<int> Order => _order;

    /// <summary>
    /// Prompt tokens that need not be computed in this order: all that can be shared, less the prefixes that both ends come to, which may be computed twice.
    /// </summary>
    public long SharedTokens { get; }

    /// <inheritdoc/>
    public long KeyOf(in QueueEntry entry) => _policy.KeyOf(entry);

    private static PromptTree SortByDensity(GlobalPrefixPlan plan, double weight)
    {
        JobWork work = plan.MakeWork(plan.Tree);
        double[] nodes = new double[plan.Tree.NodeCount], sequences = new double[plan.Tree.SequenceCount];
        for (int node = 0; node < nodes.Length; node++) nodes[node] = Density(work.Node(node), weight);
        for (int i = 0; i < sequences.Length; i++) sequences[i] = Density(work.Sequence(i), weight);
        return plan.Tree.Sorted(nodes, sequences);
    }

    /// <summary>Takes sequences from both ends until they meet; left of where they met the one end was, right of it the other.</summary>
    private static int[] Scan(PromptTree tree, JobWork work, double weight, out int met)
    {
        var places = new int[tree.SequenceCount];
        double whole = Density(work.Node(PromptTree.Root), weight), readsLeft = 0, readsRight = 0;
        int left = 0, right = places.Length - 1;
        for (int place = 0; place < places.Length; place++)
        {
            int first = tree.Sequences[left], last = tree.Sequences[right];
            double share = LeftShare(whole, GroupDensity(tree, work, first, weight), GroupDensity(tree, work, last, weight));
            bool fromLeft = readsLeft * (1 - share) <= readsRight * share;
            if (fromLeft) readsLeft += work.Sequence(first).KvReads;
            else readsRight += work.Sequence(last).KvReads;
            places[place] = tree.Sequences[fromLeft ? left++ : right--];
        }
        met = left;
        return places;
    }

    /// <summary>M_L / M.</summary>
    internal static double LeftShare(double whole, double left, double right) => left > right ? Math.Clamp((whole - right) / (left - right), 0, 1) : 0.5;

    private static double GroupDensity(PromptTree tree, JobWork work, int sequence, double weight)
    {
        int node = tree.NodeOf(sequence);
        return Density(node == PromptTree.Root ? work.Sequence(sequence) : work.Node(node), weight);
    }

    private static double Density(in Work work, double weight) => (work.Outputs + work.PromptTokens) / work.KvReads * weight;

    private static long TokensOnBothSides(PromptTree tree, int met)
    {
        long tokens = 0;
        for (int node = 1; node < tree.NodeCount; node++)
            if (tree.Start(node) < met && met < tree.End(node)) tokens += tree.OwnTokens(node);
        return tokens;
    }

    private static double Positive(double value, string name) =>
        value > 0 && double.IsFinite(value) ? value : throw new ArgumentException($"BlendOrder: {name} must be a positive number, not {value}.", name);
}
