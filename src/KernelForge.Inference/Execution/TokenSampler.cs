using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KernelForge.Inference;

/// <summary>
/// From the logits of a step to tokens: penalties, biases and forbidden tokens first, then a draw keyed by the sequence's seed and the token's position.
/// Log-probabilities are those of the logits before any change.
/// </summary>
/// <param name="config">Names the end tokens.</param>
/// <param name="findsLogProbs">Off: nobody asks for log-probabilities, as for drafted tokens.</param>
/// <param name="drawsApart">Draws with <see cref="DraftSeed"/>, independently of another sampler with the same sequences.</param>
internal sealed class TokenSampler(ModelConfig config, bool findsLogProbs = true, bool drawsApart = false)
{
    /// <summary>Adjustments that are uploaded at a time: rows with penalties can have as many as they have tokens.</summary>
    private const int AdjustmentsPerUpload = 1 << 14;

    private readonly List<SamplingRow> _rows = [];
    private readonly List<LogitAdjustment> _adjustments = [];
    private readonly Dictionary<int, TokenChange> _changes = [];
    private readonly List<int> _logProbRows = [], _logProbIndices = []; // rows that report, and for every row its place among them or -1
    private int _mostLogProbs;
    private DeviceSpan<float> _chosenLogProbs, _topLogProbs;
    private DeviceSpan<int> _topTokens;
    private (float[] Chosen, int[] TopTokens, float[] Top) _logProbs;

    /// <summary>Bytes of an arena for the small arrays of that many rows.</summary>
    public static long ArenaBytes(int rows) =>
        Arena.Rounded(AdjustmentsPerUpload * Unsafe.SizeOf<LogitAdjustment>()) + Arena.Rounded(rows * Unsafe.SizeOf<SamplingRow>())
        + 2 * Arena.Rounded((long)rows * SamplingOptions.MaxLogProbs * sizeof(int)) + 6 * Arena.Rounded(rows * sizeof(int));

    /// <summary>Whether the choice of a token depends on which tokens stand before it, besides through the logits.</summary>
    public static bool DependsOnTokens(SamplingOptions options) =>
        options.RepetitionPenalty != 1 || options.PresencePenalty != 0 || options.FrequencyPenalty != 0;

    /// <summary>How the token at a position of a sequence is drawn.</summary>
    public static SamplingRow RowOf(Sequence sequence, int position)
    {
        SamplingOptions options = sequence.Request.Sampling;
        return new SamplingRow(sequence.Seed, position, options.Temperature, options.TopK, options.TopP, options.MinP);
    }

    /// <summary>Forgets the last step.</summary>
    public void Clear()
    {
        _rows.Clear();
        _adjustments.Clear();
        _logProbRows.Clear();
        _logProbIndices.Clear();
        _mostLogProbs = 0;
    }

    /// <summary>Adds the next row of the logits: those behind the tokens of a sequence and perhaps drafted ones.</summary>
    /// <param name="sequence">Whose.</param>
    /// <param name="depth">Drafted tokens behind the sequence's own.</param>
    /// <param name="drafted">These tokens; empty where they are not known and <see cref="DependsOnTokens"/> does not hold.</param>
    public void Add(Sequence sequence, int depth, ReadOnlySpan<int> drafted)
    {
        SamplingOptions options = sequence.Request.Sampling;
        AddAdjustments(sequence, depth, drafted, options);
        bool reports = findsLogProbs && options.LogProbs is not null;
        _logProbIndices.Add(reports ? _logProbRows.Count : -1);
        if (reports)
        {
            _logProbRows.Add(_rows.Count);
            _mostLogProbs = Math.Max(_mostLogProbs, options.LogProbs!.Value);
        }
        SamplingRow row = RowOf(sequence, sequence.Length + depth);
        _rows.Add(drawsApart ? row with { Seed = DraftSeed.Of(row.Seed) } : row);
    }

    /// <summary>The token of every row, on the device; valid until the arena is reset. Changes the logits.</summary>
    public DeviceSpan<int> Choose(in DeviceMatrix logits, Arena arena, DeviceSpan<int> drafted = default, DeviceMatrix draftLogits = default)
    {
        if (logits.Rows == 0) return default;
        DeviceSpan<int> chosen = arena.Span<int>(logits.Rows);
        Choose(logits, chosen, arena, drafted, draftLogits);
        return chosen;
    }

    /// <summary>
    /// Puts the token of every row into <paramref name="chosen"/>, or as many of the best ones of each as there is room for. Changes the logits; there is at
    /// least one row.
    /// </summary>
    /// <param name="logits">What to choose from.</param>
    /// <param name="chosen">The tokens.</param>
    /// <param name="arena">For small arrays.</param>
    /// <param name="drafted">Where drafts are judged by rejection sampling: the token drafted behind each row, or -1.</param>
    /// <param name="draftLogits">What these were drawn from; empty when they were certain.</param>
    public void Choose(in DeviceMatrix logits, DeviceSpan<int> chosen, Arena arena, DeviceSpan<int> drafted = default, DeviceMatrix draftLogits = default)
    {
        Operators operators = logits.Device!.Operators;
        DeviceMatrix unchanged = KeepForLogProbs(operators, logits, arena);
        Adjust(operators, logits, arena);
        DeviceSpan<SamplingRow> rows = arena.Upload<SamplingRow>(CollectionsMarshal.AsSpan(_rows));
        if (!drafted.IsEmpty) operators.RejectDrafts(logits, draftLogits, rows, drafted, chosen);
        else if (chosen.Length == logits.Rows) operators.Sample(logits, rows, chosen);
        else operators.SampleTop(logits, rows, chosen);
        FindLogProbs(operators, unchanged, chosen, arena);
    }

    /// <summary>Brings the log-probabilities to the host; before the first <see cref="LogProbsOf"/> of a step.</summary>
    public void FetchLogProbs()
    {
        if (_logProbRows.Count > 0) _logProbs = (_chosenLogProbs.ToArray(), _topTokens.ToArray(), _topLogProbs.ToArray());
    }

    /// <summary>What a row's request wants to know of the token that was chosen there; null for nothing.</summary>
    public TokenLogProbs? LogProbsOf(int row, int token, SamplingOptions options)
    {
        int index = _logProbIndices[row];
        if (index < 0) return null;

        int count = _topTokens.Length / _logProbRows.Count, start = index * count;
        var top = new TokenLogProb[Math.Min(options.LogProbs!.Value, count)];
        for (int k = 0; k < top.Length; k++) top[k] = new TokenLogProb(_logProbs.TopTokens[start + k], _logProbs.Top[start + k]);
        return new TokenLogProbs(new TokenLogProb(token, _logProbs.Chosen[index]), top);
    }

    private void AddAdjustments(Sequence sequence, int depth, ReadOnlySpan<int> drafted, SamplingOptions options)
    {
        _changes.Clear();
        if (options.RepetitionPenalty != 1)
        {
            foreach (int token in sequence.Tokens) Change(token).Divisor = options.RepetitionPenalty;
            foreach (int token in drafted) Change(token).Divisor = options.RepetitionPenalty;
        }
        if (options.PresencePenalty != 0 || options.FrequencyPenalty != 0)
        {
            foreach (int token in sequence.OutputTokens) Change(token).Count++;
            foreach (int token in drafted) Change(token).Count++;
        }
        foreach ((int token, float bias) in options.LogitBias) Change(token).Bias += bias;
        if (sequence.OutputLength + depth < options.MinTokens)
        {
            if (!options.IgnoreEndToken)
                foreach (int token in config.EndTokenIds) Change(token).Bias = float.NegativeInfinity;
            foreach (int token in options.StopTokenIds) Change(token).Bias = float.NegativeInfinity;
        }

        foreach ((int token, TokenChange change) in _changes)
        {
            float penalty = change.Count == 0 ? 0 : options.PresencePenalty + options.FrequencyPenalty * change.Count;
            _adjustments.Add(new LogitAdjustment(_rows.Count, token, change.Divisor == 0 ? 1 : change.Divisor, change.Bias - penalty));
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
        operators.Embed(arena.Upload<int>(CollectionsMarshal.AsSpan(_logProbRows)), logits, copy);
        return copy;
    }

    private void FindLogProbs(Operators operators, in DeviceMatrix logits, DeviceSpan<int> chosen, Arena arena)
    {
        if (logits.IsEmpty) return;
        int top = Math.Min(_mostLogProbs, logits.Columns);
        DeviceSpan<int> tokens = arena.Span<int>(logits.Rows);
        operators.Gather(chosen, arena.Upload<int>(CollectionsMarshal.AsSpan(_logProbRows)), tokens);
        (_chosenLogProbs, _topLogProbs) = (arena.Span<float>(logits.Rows), arena.Span<float>(logits.Rows * top));
        _topTokens = arena.Span<int>(logits.Rows * top);
        operators.LogProbs(logits, tokens, _chosenLogProbs, _topTokens, _topLogProbs);
    }

    private struct TokenChange
    {
        public float Divisor, Bias;
        public int Count;
    }
}
