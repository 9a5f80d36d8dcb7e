namespace KernelForge.Inference;

/// <summary>
/// A runner without a model. A sequence gets tokens that depend on its request and their position only, and the end token where its answer is to end.
/// </summary>
/// <remarks>
/// With drafts, as many tokens of a draft are right as a coin says that falls for every position: none after the first wrong one. The first sequence
/// added to the scheduler is told first (<see cref="Expect"/>), and so on.
/// </remarks>
public sealed class SimulatedRunner : IStepRunner
{
    private readonly List<int> _outputTokens = [];
    private readonly StepResult _result = new();
    private readonly StepShapeCounter _shapes;
    private readonly double _acceptance;

    /// <summary>Throws <see cref="ArgumentException"/> when an option is out of range.</summary>
    public SimulatedRunner(SimulationOptions options)
    {
        options.Validate();
        _acceptance = options.DraftAcceptance;
        MaxTokensPerStep = 1 + options.DraftLength;
        _shapes = new StepShapeCounter(options.Scheduler.BlockCount, options.Scheduler.BlockSize, options.SharesPrefixReads);
    }

    /// <inheritdoc/>
    public int MaxTokensPerStep { get; }

    /// <summary>What the last step computed.</summary>
    public StepShape Shape { get; private set; }

    /// <summary>Tokens drafted so far.</summary>
    public long Drafted { get; private set; }

    /// <summary>Of these, tokens that were right and kept.</summary>
    public long Accepted { get; private set; }

    /// <summary>Says how many tokens the next sequence of the scheduler gets.</summary>
    public void Expect(int outputTokens) => _outputTokens.Add(outputTokens);

    /// <inheritdoc/>
    public StepResult Run(StepPlan plan)
    {
        _result.Clear();
        Shape = _shapes.Of(plan);
        for (int i = 0; i < plan.Rows.Length; i++)
        {
            if (plan.Rows[i].Samples) Sample(i, plan.Rows[i]);
        }
        return _result;
    }

    private void Sample(int index, in PlanRow row)
    {
        Sequence sequence = row.Sequence;
        int position = sequence.OutputLength, last = _outputTokens[(int)sequence.Id] - 1, drafted = row.MaxTokens - 1;
        ulong stream = SimulatedRandom.Hash((ulong)sequence.Id, 7);
        int gained = 1;
        while (gained <= drafted && position + gained <= last && IsRight(stream, position + gained)) gained++;

        for (int i = 0; i < gained; i++) _result.Add(index, position + i == last ? SimulatedTokens.End : SimulatedTokens.At(stream, position + i));
        if (drafted == 0) return;
        _result.SetDraftLength(index, drafted);
        Drafted += drafted;
        Accepted += gained - 1;
    }

    private bool IsRight(ulong stream, int position) => SimulatedRandom.Fraction(SimulatedRandom.Hash(~stream, (ulong)position)) < _acceptance;
}
