namespace KernelForge.Inference;

/// <content>How many tokens are drafted for each decoding sequence, and how often they turn out to be right.</content>
public sealed partial class Scheduler
{
    private const double FirstGuess = 0.7, PriorTrials = 8; // acceptance before anything was seen; how much it takes to leave a prior
    private const double SequenceMemory = 0.95, CommonMemory = 0.995; // weight of a draft when the next one is seen

    private AcceptanceEstimate _acceptance; // of all sequences: what a new one starts from
    private readonly DraftCoverage _draftCoverage; // what a draft model has to be assumed to have: the tokens of sequences that drafts were planned for
    private int _stepsSinceDraft;
    private DraftCandidate[] _candidates = [];
    private int[] _draftLengths = [];

    /// <summary>What a step costs, for the draft length policy. An engine sets it from its runner before every plan.</summary>
    public StepCost StepCost { get; set; }

    /// <summary>
    /// Asks the policy how many tokens are drafted for each decoding sequence that steps. Returns the most that may be drafted for all of
    /// them: what is left when every decode has its one token, and half of it where prompts want the rest.
    /// </summary>
    private int ChooseDraftLengths(int decodes)
    {
        if (_draftLengths.Length < decodes)
        {
            _draftLengths = new int[2 * decodes];
            _candidates = new DraftCandidate[2 * decodes];
        }
        if (_options.MaxTokensPerStep == 1) return 0;

        Span<int> lengths = _draftLengths.AsSpan(0, decodes);
        lengths.Clear();

        StepCost cost = CostOfLength();
        double lagScale = cost.DraftToken > 0 ? StepCost.DraftToken / cost.DraftToken : 1;
        int room = Math.Max(0, _budget - decodes), prompts = Math.Min(room, ListCandidates(lagScale));
        bool mayAdmit = _counters.Waiting > 0 && _running.Count < _options.MaxSequences;
        int drafts = prompts > 0 || mayAdmit ? room / 2 : room;
        int most = (drafts + _options.DraftNodes - 1) / _options.DraftNodes; // the last tree may be cut
        if (decodes > 0 && drafts > 0) _options.DraftLengths.Choose(_candidates.AsSpan(0, decodes), prompts, most, cost, lengths);
        return drafts;
    }

    /// <summary>What a step costs when a token of a draft's length stands for several nodes: each takes a token of the target and one of the draft model.</summary>
    private StepCost CostOfLength()
    {
        int nodes = _options.DraftNodes;
        return StepCost with { DraftToken = nodes * StepCost.DraftToken + (nodes - 1) * StepCost.Token };
    }

    /// <summary>Lists the decoding sequences that step and returns how many prompt tokens the others still have to compute.</summary>
    private int ListCandidates(double lagScale)
    {
        double common = _acceptance.Value(FirstGuess, PriorTrials);
        int most = _options.MaxTokensPerStep - 1, count = 0;
        long prompts = 0;
        for (int i = 0; i < _running.Count; i++)
        {
            Sequence sequence = _running[i];
            if (_chosen[i])
            {
                sequence.DraftedLength = _draftCoverage.LengthOf(sequence.Table.Blocks, sequence.DraftedLength);
                float acceptance = (float)sequence.Acceptance.Value(common, PriorTrials);
                _candidates[count++] = new DraftCandidate(acceptance, sequence.StepsSinceDraft, Math.Min(most, sequence.MaxLength - sequence.Length - 1))
                {
                    Lag = (int)Math.Ceiling(lagScale * Math.Max(0, sequence.ComputedLength - sequence.DraftedLength)),
                };
            }
            else if (!IsDecoding(sequence))
            {
                prompts += sequence.Length - sequence.ComputedLength;
            }
        }
        return (int)Math.Min(int.MaxValue, prompts);
    }

    /// <summary>Learns from what became of a row's draft. A draft that reached beyond the end of its sequence was cut, not rejected.</summary>
    private void BookDraft(in PlanRow row, int draftLength, int accepted, bool ended)
    {
        Sequence sequence = row.Sequence;
        sequence.StepsSinceDraft++;
        if (row.DraftTokens > 0)
        {
            sequence.StepsSinceDraft = _stepsSinceDraft = 0;
            _draftCoverage.Cover(sequence.Table.Blocks, sequence.DraftedLength, sequence.ComputedLength);
        }
        if (draftLength == 0) return;

        bool rejected = accepted < draftLength && !ended;
        sequence.Acceptance = sequence.Acceptance.After(accepted, rejected, SequenceMemory);
        _acceptance = _acceptance.After(accepted, rejected, CommonMemory);
    }
}
