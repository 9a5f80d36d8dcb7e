namespace KernelForge.Inference;

/// <summary>
/// Draft lengths with which the decoding sequences are expected to gain the most tokens per second; none where no length beats plain decoding.
/// </summary>
/// <remarks>
/// A sequence whose drafted tokens are accepted with probability a gains 1 + a + a² + … + a^k tokens from a draft of k: its j-th token is worth a^j. A step's
/// time is linear in its tokens and in the passes of the draft model, as many as its longest draft has tokens (ProPD, arXiv:2402.13485; staged speculative
/// decoding, arXiv:2308.04623). For every longest draft the tokens most likely to be accepted are taken, whoever they belong to, as long as one raises the
/// rate. A draft model first computes what it lacks of a sequence; where that is more than some steps with drafts save, the sequence stays without. Tokens of
/// prompts are left out of the comparison: they cost the same in whichever step they are computed. A sequence without drafts gets one token now and then, so
/// that its acceptance stays known; that takes about 1 % of the time. While costs are unknown only few sequences have drafts. Where drafts lose time by the
/// clock, whatever the model of costs says, <see cref="StepCost.WantsPlain"/> stops them.
/// </remarks>
/// <param name="maxLength">Longest draft, 1 to 16.</param>
public sealed class AdaptiveDraftLength(int maxLength) : IDraftLengthPolicy
{
    private const int Levels = 256; // of probability; tokens of the same level are worth the same
    private const int FirstLength = 4; // while costs are unknown, for one in sixteen sequences
    private const double TrialShare = 0.01;
    private const int StepsToPayLag = 16;
    private const double Hurdle = 1.02; // how much more than plain decoding drafts must promise: estimates are rough

    private readonly int _maxLength = maxLength is >= 1 and <= 16
        ? maxLength
        : throw new ArgumentException($"AdaptiveDraftLength: the longest draft must be 1 to 16, not {maxLength}.", nameof(maxLength));
    private readonly FixedDraftLength _first = new(Math.Min(FirstLength, maxLength));

    /// <inheritdoc/>
    public void Choose(ReadOnlySpan<DraftCandidate> sequences, int otherTokens, int budget, in StepCost cost, Span<int> lengths)
    {
        if (cost.WantsPlain) return;
        if (!cost.IsKnown)
        {
            if (otherTokens > 0) return; // such steps teach little
            _first.Choose(sequences, otherTokens, Math.Min(budget, Math.Max(FirstLength, sequences.Length / 4)), cost, lengths);
            return;
        }

        for (int i = 0; i < sequences.Length; i++) lengths[i] = Math.Min(_maxLength, sequences[i].MaxLength); // first what they may be, then what they are
        Selection best = FindBest(sequences, lengths, budget, cost);
        if (ExcludeLagging(sequences, best, cost, lengths)) best = FindBest(sequences, lengths, budget, cost);
        int left = budget - Draft(sequences, best, lengths);
        if (left > 0) TryOne(sequences, cost, lengths);
    }

    private static Selection FindBest(ReadOnlySpan<DraftCandidate> sequences, ReadOnlySpan<int> limits, int budget, in StepCost cost)
    {
        int longest = 0;
        foreach (int limit in limits) longest = Math.Max(longest, limit);
        Span<int> counts = stackalloc int[longest * Levels];
        Span<float> sums = stackalloc float[longest * Levels];
        CountByLevel(sequences, limits, counts, sums);

        double plain = cost.Step + cost.Token * sequences.Length;
        Selection best = new(0, 0, 0, Hurdle * sequences.Length, plain);
        for (int length = 1; length <= longest; length++)
        {
            if (length > 1) Accumulate(counts, sums, length);
            Range levels = ((length - 1) * Levels)..(length * Levels);
            var passes = new Selection(length, Levels, 0, sequences.Length, plain + cost.DraftPass * length);
            Selection selection = Take(passes, counts[levels], sums[levels], budget, cost.Token + cost.DraftToken);
            if (selection.Gain * best.Time > best.Gain * selection.Time) best = selection;
        }
        return best;
    }

    /// <summary>How many drafted tokens there can be of each place in a draft and each level, and what they are worth together.</summary>
    private static void CountByLevel(ReadOnlySpan<DraftCandidate> sequences, ReadOnlySpan<int> limits, Span<int> counts, Span<float> sums)
    {
        counts.Clear();
        sums.Clear();
        for (int i = 0; i < sequences.Length; i++)
        {
            float acceptance = AcceptanceOf(sequences[i]), worth = acceptance;
            for (int place = 0; place < limits[i]; place++, worth *= acceptance)
            {
                int level = place * Levels + LevelOf(worth);
                counts[level]++;
                sums[level] += worth;
            }
        }
    }

    /// <summary>Adds the tokens of shorter drafts to those of a length's last place.</summary>
    private static void Accumulate(Span<int> counts, Span<float> sums, int length)
    {
        int last = (length - 1) * Levels, before = last - Levels;
        for (int level = 0; level < Levels; level++)
        {
            counts[last + level] += counts[before + level];
            sums[last + level] += sums[before + level];
        }
    }

    /// <summary>Takes tokens from the highest level down, as long as one adds more gain than the rate so far gives for its time.</summary>
    private static Selection Take(Selection selection, ReadOnlySpan<int> counts, ReadOnlySpan<float> sums, int budget, double price)
    {
        for (int level = Levels - 1; level >= 0 && budget > 0; level--)
        {
            if (counts[level] == 0) continue;
            double worth = sums[level] / counts[level];
            if (worth * selection.Time <= price * selection.Gain) break;

            int taken = Math.Min(counts[level], budget);
            budget -= taken;
            selection = selection with
            {
                Level = level, AtLevel = taken, Gain = selection.Gain + worth * taken, Time = selection.Time + price * taken,
            };
        }
        return selection;
    }

    /// <summary>Sets the limit to 0 where a selection's drafts would not pay for what the draft model lacks. Returns whether there was such a sequence.</summary>
    private static bool ExcludeLagging(ReadOnlySpan<DraftCandidate> sequences, in Selection selection, in StepCost cost, Span<int> limits)
    {
        double perToken = selection.Time / selection.Gain, price = cost.Token + cost.DraftToken;
        bool any = false;
        for (int i = 0; selection.Longest > 0 && i < sequences.Length; i++)
        {
            float acceptance = AcceptanceOf(sequences[i]), worth = acceptance;
            int limit = Math.Min(selection.Longest, limits[i]);
            double saved = 0;
            for (int place = 0; place < limit && LevelOf(worth) >= selection.Level; place++, worth *= acceptance) saved += worth * perToken - price;
            if (saved * StepsToPayLag >= cost.DraftToken * sequences[i].Lag) continue;
            limits[i] = 0;
            any = true;
        }
        return any;
    }

    /// <summary>Sets the lengths that a selection stands for, within the limits they hold, and returns their sum.</summary>
    private static int Draft(ReadOnlySpan<DraftCandidate> sequences, in Selection selection, Span<int> lengths)
    {
        int sum = 0, atLevel = selection.AtLevel;
        for (int i = 0; i < sequences.Length; i++)
        {
            float acceptance = AcceptanceOf(sequences[i]), worth = acceptance;
            int limit = Math.Min(selection.Longest, lengths[i]), length = 0;
            for (; length < limit; length++, worth *= acceptance)
            {
                int level = LevelOf(worth);
                if (level < selection.Level || (level == selection.Level && atLevel-- <= 0)) break;
            }
            lengths[i] = length;
            sum += length;
        }
        return sum;
    }

    /// <summary>
    /// Drafts a token for the sequence that has been without for longest, among those for which it costs no more than a small share of the time since the last
    /// one, with what the draft model lacks.
    /// </summary>
    private static void TryOne(ReadOnlySpan<DraftCandidate> sequences, in StepCost cost, Span<int> lengths)
    {
        int pause = int.MaxValue, chosen = -1;
        for (int i = 0; i < sequences.Length; i++)
            if (IsWithout(sequences[i], lengths[i])) pause = Math.Min(pause, sequences[i].StepsSinceDraft);

        double saved = TrialShare * pause * (cost.Step + cost.Token * sequences.Length);
        for (int i = 0; i < sequences.Length; i++)
        {
            int since = sequences[i].StepsSinceDraft;
            if (!IsWithout(sequences[i], lengths[i]) || (chosen >= 0 && since <= sequences[chosen].StepsSinceDraft)) continue;
            double price = cost.Token + cost.DraftPass + cost.DraftToken * (1.0 + sequences[i].Lag);
            if (price < saved) chosen = i;
        }
        if (chosen >= 0) lengths[chosen] = 1;
    }

    private static bool IsWithout(in DraftCandidate sequence, int length) => length == 0 && sequence.MaxLength > 0;

    private static float AcceptanceOf(in DraftCandidate sequence) => sequence.Acceptance > 0 ? Math.Min(sequence.Acceptance, 1) : 0;

    private static int LevelOf(float worth) => Math.Min((int)(worth * Levels), Levels - 1);

    /// <summary>Tokens to draft: all of levels above <paramref name="Level"/> and some of that one, in drafts up to a length; what comes of them.</summary>
    /// <param name="Longest">Longest draft.</param>
    /// <param name="Level">Lowest level of which tokens are drafted.</param>
    /// <param name="AtLevel">How many of that level, oldest sequences first.</param>
    /// <param name="Gain">Tokens that the sequences are expected to gain.</param>
    /// <param name="Time">Seconds of the step, its prompts left out.</param>
    private readonly record struct Selection(int Longest, int Level, int AtLevel, double Gain, double Time);
}
