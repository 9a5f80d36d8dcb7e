using KernelForge.Inference;

namespace KernelForge.Tests;

/// <summary>
/// Whole runs on a simulated clock: costs are learned from noisy times, acceptance from what comes back, and the lengths that follow must be as good as the best
/// fixed one.
/// </summary>
public class AdaptiveRunTests
{
    private static readonly StepCost ManyIdleLanes = new(Step: 10e-3, Token: 0.05e-3, DraftPass: 1.5e-3, DraftToken: 0.01e-3);
    private static readonly StepCost FewIdleLanes = new(Step: 8e-3, Token: 1e-3, DraftPass: 1e-3, DraftToken: 0.1e-3);
    private static readonly StepCost NGrams = new(Step: 8e-3, Token: 1e-3, DraftPass: 0, DraftToken: 1e-6);

    public static TheoryData<string, double, int> Cases
    {
        get
        {
            var data = new TheoryData<string, double, int>();
            foreach (string cost in (string[])[nameof(ManyIdleLanes), nameof(FewIdleLanes), nameof(NGrams)])
                foreach (double acceptance in (double[])[0.1, 0.5, 0.8])
                    foreach (int batch in (int[])[1, 4, 32]) data.Add(cost, acceptance, batch);
            return data;
        }
    }

    [Theory, MemberData(nameof(Cases))]
    public void Adaptive_AnyCostAndAcceptance_IsNearTheBestFixedLength(string costs, double acceptance, int batch)
    {
        StepCost cost = costs switch { nameof(ManyIdleLanes) => ManyIdleLanes, nameof(FewIdleLanes) => FewIdleLanes, _ => NGrams };
        double[] times = [.. ((int[])[0, 1, 2, 3, 4, 6, 8]).Select(length => Run(new FixedDraftLength(length), cost, acceptance, batch))];

        double adaptive = Run(new AdaptiveDraftLength(8), cost, acceptance, batch);

        Assert.True(adaptive <= 1.07 * times.Min(), $"{adaptive:f3} s; fixed lengths took {string.Join(", ", times.Select(time => $"{time:f3}"))}");
        Assert.True(adaptive <= times[0] / 0.97, $"{adaptive:f3} s; plain decoding took {times[0]:f3}");
    }

    /// <summary>Seconds that answers of 60 tokens take; few of them, so that learning counts.</summary>
    private static double Run(IDraftLengthPolicy policy, StepCost cost, double acceptance, int batch)
    {
        var scheduler = new Scheduler(new SchedulerOptions
        {
            BlockCount = 4096, ContextLength = 256, TokenBudget = 512, MaxSequences = batch, MaxTokensPerStep = 9, DraftLengths = policy,
        });
        for (int i = 0; i < 60 + 4 * batch; i++) scheduler.Add(new Request([i, .. Enumerable.Range(0, 20 + i % 13)], new SamplingOptions { MaxTokens = 60 }));
        var clock = new Clock(cost, acceptance);
        while (scheduler.HasWork)
        {
            scheduler.StepCost = clock.Learned;
            StepPlan plan = scheduler.Plan();
            scheduler.Commit(plan, clock.Run(plan));
        }
        return clock.Seconds;
    }

    /// <summary>Takes the time that a cost says, give or take 10 %, and accepts drafted tokens with a probability.</summary>
    private sealed class Clock(StepCost cost, double acceptance)
    {
        private readonly Random _random = new(17), _noise = new(18);
        private readonly StepResult _result = new();
        private readonly Dictionary<Sequence, int> _computed = [];

        private readonly StepCostFit _fit = new();
        private readonly DraftLedger _ledger = new();

        public StepCost Learned => _fit.Cost with { WantsPlain = _ledger.WantsPlain };

        public double Seconds { get; private set; }

        public StepResult Run(StepPlan plan)
        {
            _result.Clear();
            int drafted = 0, drafting = 0, passes = 0, decodes = 0, accepted = 0;
            bool hasPrompts = false;
            for (int row = 0; row < plan.Rows.Length; row++)
            {
                PlanRow planned = plan.Rows[row];
                hasPrompts |= planned.Length > 1;
                if (!planned.Samples) continue;
                decodes++;
                int length = planned.DraftTokens, tokens = 1;
                if (length > 0) drafting += CatchUp(planned);
                while (tokens <= length && _random.NextDouble() < acceptance) tokens++;
                for (int i = 0; i < tokens; i++) _result.Add(row, 1);
                _result.SetDraftLength(row, length);
                (drafted, passes, accepted) = (drafted + length, Math.Max(passes, length), accepted + tokens - 1);
            }
            double target = cost.Step + cost.Token * (plan.QueryTokens + drafted), draft = cost.DraftPass * passes + cost.DraftToken * (drafted + drafting);
            Seconds += target + draft;
            double targetSeconds = target * Noise(), draftSeconds = draft * Noise();
            StepCost known = _fit.Cost;
            _ledger.Observe(
                new StepTime(targetSeconds, draftSeconds, decodes, drafted, accepted, hasPrompts), known.Step + known.Token * (plan.QueryTokens + drafted),
                known.DraftPass * passes + known.DraftToken * (drafted + drafting), known.Token * drafted);
            if (!hasPrompts) _fit.Observe(targetSeconds, plan.QueryTokens + drafted, draftSeconds, cost.DraftPass > 0 ? passes : 0, drafted + drafting);
            return _result;
        }

        /// <summary>Tokens of the sequence that the draft model has not computed before.</summary>
        private int CatchUp(in PlanRow row)
        {
            int end = row.Start + row.Length, lacking = end - _computed.GetValueOrDefault(row.Sequence, row.Sequence.CachedLength) - 1;
            _computed[row.Sequence] = end;
            return lacking;
        }

        private double Noise() => 0.9 + 0.2 * _noise.NextDouble();
    }
}
