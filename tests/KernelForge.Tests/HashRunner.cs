using KernelForge.Inference;

namespace KernelForge.Tests;

/// <summary>
/// A runner without a model. The KV of a position is a hash of its token, its position and all KV before it, kept in the slot the
/// block table names; the next token is a hash of every visible slot. A missing, stale, overwritten or misplaced slot therefore
/// changes the output. <see cref="Expected"/> computes the same tokens with no slots at all.
/// </summary>
internal sealed partial class HashRunner(int blockCount, int blockSize, int maxTokensPerStep = 1, DraftOutcome drafts = DraftOutcome.AllRight) : IStepRunner
{
    public const int VocabularySize = 61;
    public const int EndToken = 7;
    private const ulong Poison = 0xDEAD_DEAD_DEAD_DEAD;

    private readonly ulong[] _slots = Enumerable.Repeat(Poison, blockCount * blockSize).ToArray();
    private readonly StepResult _result = new();

    public int MaxTokensPerStep => maxTokensPerStep;

    public StepCost StepCost { get; init; }

    /// <summary>When set, slots of blocks without references are poisoned before every step.</summary>
    public BlockPool? Pool { get; set; }

    public StepResult Run(StepPlan plan)
    {
        _result.Clear();
        PoisonFreeBlocks();
        // All rows of a batch read and write in the same pass on a device; poisoning all of them first shows rows that overlap.
        foreach (PlanRow row in plan.Rows) PoisonFrom(row.Sequence.Table, row.Start);
        for (int i = 0; i < plan.Rows.Length; i++) RunRow(i, plan.Rows[i]);
        return _result;
    }

    /// <summary>Tokens that sample <paramref name="sampleIndex"/> of the request gets, by definition.</summary>
    public static List<int> Expected(Request request, int sampleIndex, int contextLength)
    {
        SamplingOptions sampling = request.Sampling;
        var seedOnly = new Sequence(0, request, sampleIndex, contextLength);
        ulong state = 0;
        int position = 0;
        foreach (int token in request.PromptTokenIds) state = Fold(state, Kv(state, token, position++));

        List<int> output = [];
        while (true)
        {
            int token = Choose(state, seedOnly, position);
            output.Add(token);
            bool stops = (token == EndToken && !sampling.IgnoreEndToken) || sampling.StopTokenIds.Contains(token);
            if ((stops && output.Count > sampling.MinTokens) || output.Count == sampling.MaxTokens || position + 1 == contextLength) return output;
            state = Fold(state, Kv(state, token, position++));
        }
    }

    private void RunRow(int index, in PlanRow row)
    {
        BlockTable table = row.Sequence.Table;
        ulong state = 0;
        for (int position = 0; position < row.Start; position++) state = Fold(state, _slots[SlotOf(table, position)]);

        if (Flaw == DraftFlaw.RejectedKvKept) state = _kept.GetValueOrDefault(row.Sequence, state);
        int next = row.Start;
        foreach (int token in row.Tokens) state = Write(table, state, token, next++);
        if (row.Samples) Verify(index, row, state, next);
    }

    private ulong Write(BlockTable table, ulong state, int token, int position)
    {
        int slot = SlotOf(table, position);
        _slots[slot] = Kv(state, token, position);
        return Fold(state, _slots[slot]);
    }

    private int SlotOf(BlockTable table, int position) => table[position / blockSize] * blockSize + position % blockSize;

    private void PoisonFreeBlocks()
    {
        for (int block = 0; Pool is { } pool && block < blockCount; block++)
        {
            if (pool.References(block) == 0) _slots.AsSpan(block * blockSize, blockSize).Fill(Poison);
        }
    }

    private void PoisonFrom(BlockTable table, int start)
    {
        for (int position = start; position < table.Count * blockSize; position++) _slots[SlotOf(table, position)] = Poison;
    }

    private static int Choose(ulong state, Sequence sequence, int position)
    {
        ulong noise = sequence.Request.Sampling.Temperature > 0 ? Mix(sequence.Seed + 1) ^ Mix((ulong)position) : 0;
        return (int)(Mix(state ^ noise) % VocabularySize);
    }

    private static ulong Kv(ulong state, int token, int position) => Mix(Mix(state) ^ (uint)token ^ ((ulong)position << 32));

    private static ulong Fold(ulong state, ulong kv) => Mix(state * 31 + kv);

    private static ulong Mix(ulong z)
    {
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9UL;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBUL;
        return z ^ (z >> 31) ^ 0x9E3779B97F4A7C15UL;
    }
}
