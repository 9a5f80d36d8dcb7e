namespace KernelForge.Inference;

/// <summary>
/// What the requests of a job share, seen as a whole before any of them runs: the prefixes that are worth computing once, and an order in which those who share
/// one follow each other at every level (BatchLLM, arXiv:2412.03594). Immutable; schedulers may share it.
/// </summary>
/// <remarks>
/// Prefixes that go on from the same one are ordered by tokens to generate per prompt token to compute, most first: early sequences that decode for long leave
/// room beside them for the prompts of all that follow, and the end of the job is not decoding alone. Equal ones go by arrival.
/// </remarks>
public sealed class GlobalPrefixPlan
{
    private readonly int[] _order;
    private readonly Request[] _sequences;
    private readonly double[] _outputs;

    private GlobalPrefixPlan(IReadOnlyList<Request> requests, PromptTree tree, Request[] sequences, double[] outputs, PrefixPlanOptions options)
    {
        (Requests, Tree, _sequences, _outputs) = (requests, tree, sequences, outputs);
        int[] firsts = FirstSequences(requests);
        Groups = PrefixGroups.MultiLevel(tree, firsts, options.LevelCost);
        OneLevelGroups = PrefixGroups.OneLevel(tree, firsts);
        Shared = new SharedTokens(
            Prompt: sequences.Sum(static request => (long)request.PromptTokenIds.Length),
            Unrestricted: PrefixGroups.UnrestrictedTokens(tree),
            MultiLevel: Groups.SharedTokens,
            OneLevel: OneLevelGroups.SharedTokens,
            Greedy: GreedyPrefixGroups.SharedTokens(tree),
            FirstLevel: PrefixGroups.FirstLevelTokens(tree));
        int[] ranks = RanksOf(tree.Sequences, firsts);
        OrderPolicy = new PrefixGroupOrder(ranks);
        _order = [.. firsts.Select(first => ranks[first])];
    }

    /// <summary>The job, in the order of arrival.</summary>
    public IReadOnlyList<Request> Requests { get; }

    /// <summary>Token positions in a block.</summary>
    public int BlockSize => Tree.BlockSize;

    /// <summary>Place of each request, 0 for the first.</summary>
    public ReadOnlySpan<int> Order => _order;

    /// <summary>The same as an order of the queue.</summary>
    public IQueueOrder OrderPolicy { get; }

    /// <summary>The prefixes to read together: every shared one, or those worth their cost when <see cref="PrefixPlanOptions.LevelCost"/> is given.</summary>
    public PrefixGrouping Groups { get; }

    /// <summary>The prefixes to read together where attention takes one shared prefix per sequence.</summary>
    public PrefixGrouping OneLevelGroups { get; }

    /// <summary>What is shared, by the ways there are.</summary>
    public SharedTokens Shared { get; }

    internal PromptTree Tree { get; }

    /// <summary>
    /// Plans a job. Takes time in proportion to the prompt tokens and, beside the prompts, memory in proportion to the requests. Progress is a share in [0, 1].
    /// Throws <see cref="ArgumentException"/> when the block size is not positive or <see cref="PrefixPlanOptions.SampledTokens"/> has not one entry for each
    /// request.
    /// </summary>
    public static GlobalPrefixPlan Of(
        IReadOnlyList<Request> requests, int blockSize, PrefixPlanOptions? options = null, IProgress<double>? progress = null,
        CancellationToken cancellation = default)
    {
        if (blockSize < 1) throw new ArgumentException($"GlobalPrefixPlan.Of: the block size must be 1 or more, not {blockSize}.", nameof(blockSize));
        options ??= new PrefixPlanOptions();
        if (options.SampledTokens is { } sampled && sampled.Count != requests.Count)
        {
            throw new ArgumentException(
                $"GlobalPrefixPlan.Of: expected {requests.Count} sampled lengths, one for each request, got {sampled.Count}.", nameof(options));
        }

        Request[] copy = [.. requests], sequences = SequencesOf(copy);
        PromptTree tree = PromptTreeBuilder.Build([.. sequences.Select(static request => request.PromptTokens)], blockSize, progress, cancellation);
        double[] outputs = OutputEstimate.Of(tree, copy, options.SampledTokens);
        cancellation.ThrowIfCancellationRequested();
        PromptTree sorted = SortByDecodeRatio(tree, new JobWork(tree, sequences, outputs));
        return new GlobalPrefixPlan(copy, sorted, sequences, outputs, options);
    }

    /// <summary>
    /// Requests to run first so that the lengths of the others can be estimated: a share of all, at least one, spread evenly over the plan's order so that
    /// every large group has some. In the order of the plan.
    /// </summary>
    public int[] ChooseSample(double share)
    {
        if (!(share is > 0 and <= 1)) throw new ArgumentException($"GlobalPrefixPlan.ChooseSample: the share must be in (0, 1], not {share}.", nameof(share));
        if (_order.Length == 0) return [];

        int[] requests = [.. Enumerable.Range(0, _order.Length)];
        Array.Sort([.. _order], requests);
        int count = Math.Max(1, (int)Math.Round(share * requests.Length));
        return [.. Enumerable.Range(0, count).Select(i => requests[(int)((2L * i + 1) * requests.Length / (2L * count))])];
    }

    internal PrefixNeeds MakeNeeds() => new(Tree, _sequences);

    internal JobWork MakeWork(PromptTree tree) => new(tree, _sequences, _outputs);

    /// <summary>Ranks of sequences by their places; those of a request have one rank.</summary>
    /// <param name="places">Sequence at each place; samples of a request are neighbours.</param>
    /// <param name="firsts">First sequence of each request.</param>
    internal static int[] RanksOf(ReadOnlySpan<int> places, ReadOnlySpan<int> firsts)
    {
        var isFirst = new bool[places.Length];
        foreach (int first in firsts) isFirst[first] = true;

        var ranks = new int[places.Length];
        int rank = 0;
        foreach (int sequence in places)
            if (isFirst[sequence]) ranks[sequence] = rank++;
        for (int i = 0; i < ranks.Length; i++)
            if (!isFirst[i]) ranks[i] = ranks[i - 1];
        return ranks;
    }

    internal static int[] FirstSequences(IReadOnlyList<Request> requests)
    {
        var firsts = new int[requests.Count];
        for (int i = 1; i < firsts.Length; i++) firsts[i] = firsts[i - 1] + requests[i - 1].Sampling.N;
        return firsts;
    }

    private static PromptTree SortByDecodeRatio(PromptTree tree, JobWork work)
    {
        double[] nodes = new double[tree.NodeCount], sequences = new double[tree.SequenceCount];
        for (int node = 0; node < nodes.Length; node++) nodes[node] = work.Node(node).Outputs / Math.Max(1, work.Node(node).PromptTokens);
        for (int i = 0; i < sequences.Length; i++) sequences[i] = work.Sequence(i).Outputs / work.Sequence(i).PromptTokens;
        return tree.Sorted(nodes, sequences);
    }

    private static Request[] SequencesOf(Request[] requests)
    {
        var sequences = new List<Request>(requests.Length);
        foreach (Request request in requests)
            for (int i = 0; i < request.Sampling.N; i++) sequences.Add(request);
        return [.. sequences];
    }
}
