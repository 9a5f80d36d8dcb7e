using System.Runtime.InteropServices;

namespace KernelForge.Inference;

/// <content>What a step changed: tokens, computed lengths, shared blocks, ends.</content>
public sealed partial class Scheduler
{
    /// <summary>
    /// Books a step: appends tokens, shares newly computed blocks, ends what is complete and frees its blocks. Rows of sequences
    /// cancelled since the plan are ignored. Throws <see cref="InvalidOperationException"/> when a row has too few or too many tokens.
    /// The gains are valid until the next commit.
    /// </summary>
    public ReadOnlySpan<TokenGain> Commit(StepPlan plan, StepResult result)
    {
        RequireMatch(plan, result);
        _gains.Clear();
        _stepsSinceDraft++;
        bool anyFinished = false;
        for (int i = 0; i < plan.Rows.Length; i++)
        {
            PlanRow row = plan.Rows[i];
            if (row.Sequence.Status != SequenceStatus.Running) continue;

            CommitRow(row, result.Tokens(i), result.LogProbs(i), result.DraftLength(i));
            anyFinished |= row.Sequence.Status == SequenceStatus.Finished;
        }

        if (anyFinished) _running.RemoveAll(static sequence => sequence.Status == SequenceStatus.Finished);
        _counters.Steps++;
        return CollectionsMarshal.AsSpan(_gains);
    }

    private void CommitRow(in PlanRow row, ReadOnlySpan<int> tokens, ReadOnlySpan<TokenLogProbs?> logProbs, int draftLength)
    {
        Sequence sequence = row.Sequence;
        int computed = row.Start + row.Length, before = sequence.OutputLength;
        CountComputed(sequence, row.Start, computed);

        FinishReason? reason = null;
        for (int i = 0; i < tokens.Length && reason is null; i++) reason = Accept(sequence, tokens[i], logProbs[i]);

        int gained = sequence.OutputLength - before;
        sequence.ComputedLength = gained > 0 ? sequence.Length - 1 : computed; // the last gained token has no KV yet
        sequence.PeakComputedLength = Math.Max(sequence.PeakComputedLength, sequence.ComputedLength);
        int published = sequence.TreeBlocks;
        _kv.Publish(sequence);
        if (_options.PrefixCache) _shares.Computed(sequence, published, sequence.TreeBlocks);
        else if (sequence.Siblings is not null) _shares.Computed(sequence, row.Start / _options.BlockSize, sequence.ComputedLength / _options.BlockSize);
        if (_options.MaxTokensPerStep > 1) _draftCoverage.Forget(sequence.Table.Blocks, row.Start);
        if (row.Samples) BookDraft(row, draftLength, tokens.Length - 1, ended: reason is not null);
        if (reason is { } why) End(sequence, why);
        if (gained > 0) _gains.Add(new TokenGain(sequence, before, gained));
        _counters.OutputTokens += gained;
    }

    private FinishReason? Accept(Sequence sequence, int token, TokenLogProbs? logProbs)
    {
        bool mayStop = sequence.OutputLength >= sequence.Request.Sampling.MinTokens;
        sequence.Append(token);
        if (sequence.LogProbs is { } list) list.Add(logProbs ?? throw new InvalidOperationException($"The runner gave no log-probabilities for sequence {sequence.Id}."));

        if (mayStop && IsStop(sequence.Request.Sampling, token)) return FinishReason.Stop;
        return sequence.Length >= sequence.MaxLength ? FinishReason.Length : null;
    }

    private bool IsStop(SamplingOptions sampling, int token)
    {
        if (!sampling.IgnoreEndToken && _endTokenIds.AsSpan().Contains(token)) return true;

        IReadOnlyList<int> stops = sampling.StopTokenIds;
        for (int i = 0; i < stops.Count; i++)
        {
            if (stops[i] == token) return true;
        }
        return false;
    }

    private void CountComputed(Sequence sequence, int start, int end)
    {
        int known = Math.Clamp(sequence.PeakComputedLength, start, end); // below it: computed before
        _counters.TokensRecomputed += known - start;
        _counters.PromptTokensComputed += Math.Max(0, Math.Min(end, sequence.PromptLength) - known);
    }

    private void End(Sequence sequence, FinishReason reason)
    {
        if (!sequence.WasAdmitted) _pins.End(sequence.Request.Session); // nobody else comes for them
        if (reason is FinishReason.Stop or FinishReason.Length)
        {
            KeepTurn(sequence);
            _admission.Ended(new EndedOutput(sequence.Request.TaskClass, sequence.OutputLength));
        }
        ReleaseBlocks(sequence, comesBack: false);
        sequence.Status = SequenceStatus.Finished;
        sequence.FinishReason = reason;
    }

    private void KeepTurn(Sequence sequence)
    {
        if (sequence.Request.Session.Length == 0) return;
        double share = (double)sequence.TreeBlocks / _options.BlockCount, load = _counters.Waiting > 0 ? 1 : (double)_kv.InUse / _options.BlockCount;
        _pins.Keep(sequence, new EndedTurn(sequence.Request.TaskClass, sequence.TreeBlocks * _options.BlockSize, share, load), Now);
    }

    private static void RequireMatch(StepPlan plan, StepResult result)
    {
        for (int i = 0; i < plan.Rows.Length; i++)
        {
            PlanRow row = plan.Rows[i];
            int gained = result.Tokens(i).Length;
            if (gained < (row.Samples ? 1 : 0) || gained > row.MaxTokens)
                throw new InvalidOperationException($"Row {i} of the step must gain {(row.Samples ? 1 : 0)} to {row.MaxTokens} tokens, the runner gave {gained}.");
        }
    }
}
