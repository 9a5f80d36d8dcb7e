using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KernelForge.Inference;

/// <summary>
/// From the logits of a step's sampling rows to tokens: penalties, biases and forbidden tokens first, then a draw keyed by the sequence's seed and the token's
/// position. Log-probabilities are those of the logits before any change.
/// </summary>
internal sealed class TokenSampler(ModelConfig config)
{
    /// <summary>Adjustments that are uploaded at a time: rows with penalties can have as many as they have tokens.</summary>
    private const int AdjustmentsPerUpload = 1 << 14;

    private readonly List<SamplingRow> _rows = [];
    private readonly List<LogitAdjustment> _adjustments = [];
    private readonly Dictionary<int, TokenChange> _changes = [];
    private readonly List<int> _tokens = [], _logProbRows = [];

    /// <summary>Adds one token for every sampling row of the plan to <paramref name="result"/>.</summary>
    public void Sample(StepPlan plan, in DeviceMatrix logits, Arena arena, StepResult result)
    {
        if (logits.Rows == 0) return;
        Describe(plan.Rows);
        Operators operators = logits.Device!.Operators;
        DeviceSpan<int> chosen = arena.Span<int>(logits.Rows);
        DeviceMatrix unchanged = KeepForLogProbs(operators, logits, arena);

        Adjust(operators, logits, arena);
        operators.Sample(logits, Upload(arena, _rows), chosen);

        CollectionsMarshal.SetCount(_tokens, logits.Rows);
        chosen.CopyTo(CollectionsMarshal.AsSpan(_tokens));
        Report(plan.Rows, LogProbs(plan.Rows, operators, unchanged, arena), result);
    }

    /// <summary>Bytes of an arena for the small arrays of that many rows.</summary>
    public static long ArenaBytes(int rows) =>
        Arena.Rounded(AdjustmentsPerUpload * Unsafe.SizeOf<LogitAdjustment>()) + Arena.Rounded(rows * Unsafe.SizeOf<SamplingRow>())
        + 2 * Arena.Rounded((long)rows * SamplingOptions.MaxLogProbs * sizeof(int)) + 4 * Arena.Rounded(rows * sizeof(int));

    private void Describe(ReadOnlySpan<PlanRow> rows)
    {
        _rows.Clear();
        _adjustments.Clear();
        _logProbRows.Clear();
        foreach (ref readonly PlanRow row in rows)
        {
            if (!row.Samples) continue;
            Sequence sequence = row.Sequence;
            SamplingOptions options = sequence.Request.Sampling;
            if (options.LogProbs is not null) _logProbRows.Add(_rows.Count);
            AddAdjustments(_rows.Count, sequence, options);
            _rows.Add(new SamplingRow(sequence.Seed, sequence.Length, options.Temperature, options.TopK, options.TopP, options.MinP));
        }
    }

    private void AddAdjustments(int row, Sequence sequence, SamplingOptions options)
    {
        _changes.Clear();
        if (options.RepetitionPenalty != 1)
            foreach (int token in sequence.Tokens) Change(token).Divisor = options.RepetitionPenalty;
        if (options.PresencePenalty != 0 || options.FrequencyPenalty != 0)
            foreach (int token in sequence.OutputTokens) Change(token).Count++;
        foreach ((int token, float bias) in options.LogitBias) Change(token).Bias += bias;
        if (sequence.OutputLength < options.MinTokens)
        {
            if (!options.IgnoreEndToken)
                foreach (int token in config.EndTokenIds) Change(token).Bias = float.NegativeInfinity;
            foreach (int token in options.StopTokenIds) Change(token).Bias = float.NegativeInfinity;
        }

        foreach ((int token, TokenChange change) in _changes)
        {
            float penalty = change.Count == 0 ? 0 : options.PresencePenalty + options.FrequencyPenalty * change.Count;
            _adjustments.Add(new LogitAdjustment(row, token, change.Divisor == 0 ? 1 : change.Divisor, change.Bias - penalty));
        }
    }

    private void Adjust(Operators operators, in DeviceMatrix logits, Arena arena)
    {
        Span<LogitAdjustment> left = CollectionsMarshal.AsSpan(_adjustments);
        DeviceSpan<LogitAdjustment> room = arena.Span<LogitAdjustment>(Math.Min(left.Length, AdjustmentsPerUpload));
        while (!left.IsEmpty)
        {
            DeviceSpan<LogitAdjustment> part = room.Slice(0, Math.Min(left.Length, room.Length));
            part.CopyFrom(left[..part.Length]);
            operators.AdjustLogits(logits, part);
            left = left[part.Length..];
        }
    }

    private ref TokenChange Change(int token) => ref CollectionsMarshal.GetValueRefOrAddDefault(_changes, token, out _)!;

    private DeviceMatrix KeepForLogProbs(Operators operators, in DeviceMatrix logits, Arena arena)
    {
        if (_logProbRows.Count == 0) return default;
        DeviceMatrix copy = arena.Matrix(DType.F32, _logProbRows.Count, logits.Columns);
        operators.Embed(Upload(arena, _logProbRows), logits, copy);
        return copy;
    }

    private (float[] Chosen, int[] TopTokens, float[] Top, int Count) LogProbs(
        ReadOnlySpan<PlanRow> rows, Operators operators, in DeviceMatrix logits, Arena arena)
    {
        if (logits.IsEmpty) return default;
        int top = 0;
        foreach (ref readonly PlanRow row in rows) top = Math.Max(top, row.Samples ? row.Sequence.Request.Sampling.LogProbs ?? 0 : 0);
        top = Math.Min(top, logits.Columns);

        List<int> tokens = [.. _logProbRows.Select(row => _tokens[row])];
        DeviceSpan<float> chosen = arena.Span<float>(logits.Rows), topLogProbs = arena.Span<float>(logits.Rows * top);
        DeviceSpan<int> topTokens = arena.Span<int>(logits.Rows * top);
        operators.LogProbs(logits, Upload(arena, tokens), chosen, topTokens, topLogProbs);
        return (chosen.ToArray(), topTokens.ToArray(), topLogProbs.ToArray(), top);
    }

    private void Report(ReadOnlySpan<PlanRow> rows, (float[] Chosen, int[] TopTokens, float[] Top, int Count) logProbs, StepResult result)
    {
        int sampling = 0, reported = 0;
        for (int i = 0; i < rows.Length; i++)
        {
            if (!rows[i].Samples) continue;
            int token = _tokens[sampling++];
            TokenLogProbs? entry = null;
            if (rows[i].Sequence.Request.Sampling.LogProbs is { } wanted)
            {
                int start = reported * logProbs.Count;
                var top = new TokenLogProb[Math.Min(wanted, logProbs.Count)];
                for (int k = 0; k < top.Length; k++) top[k] = new TokenLogProb(logProbs.TopTokens[start + k], logProbs.Top[start + k]);
                entry = new TokenLogProbs(new TokenLogProb(token, logProbs.Chosen[reported++]), top);
            }
            result.Add(i, token, entry);
        }
    }

    private static DeviceSpan<T> Upload<T>(Arena arena, List<T> values) where T : unmanaged
    {
        DeviceSpan<T> span = arena.Span<T>(values.Count);
        span.CopyFrom(CollectionsMarshal.AsSpan(values));
        return span;
    }

    private struct TokenChange
    {
        public float Divisor, Bias;
        public int Count;
    }
}
