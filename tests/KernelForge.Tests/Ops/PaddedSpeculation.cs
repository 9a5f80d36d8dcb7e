namespace KernelForge.Tests;

/// <summary>How published implementations of batched speculation end a round wrongly.</summary>
public enum RoundMistake
{
    None,

    /// <summary>The token after the accepted drafts is the draft that was rejected, not the target's choice.</summary>
    BonusFromDraft,

    /// <summary>Rejected drafts count as content: their keys and values stay.</summary>
    RejectedKept,

    /// <summary>Tokens are padded anew, keys and values stay in the columns where the pass wrote them.</summary>
    CachesNotMoved,

    /// <summary>Padding is attended to.</summary>
    OnesMask,

    /// <summary>Positions are columns.</summary>
    PositionsNotRealigned,
}

/// <summary>
/// Speculative decoding of a padded batch with a target that is a hash: keys and values of a token are a hash of it, its position and everything visible before it; the next
/// token is a hash of everything visible. So whatever is stale, missing, misplaced or not masked out changes the output. Some drafts are right.
/// </summary>
internal sealed class PaddedSpeculation(Device device, PaddingSide side, bool inPlace, RoundMistake mistake = RoundMistake.None)
{
    public const int Vocabulary = 11;

    private const int Heads = 2, Layers = 2, HeadDim = sizeof(ulong), DraftLength = 3, Capacity = 120;

    private readonly Random _random = new(4);

    /// <summary>Rounds in which sequences gained unequally many tokens.</summary>
    public int RaggedRounds { get; private set; }

    /// <summary>The tokens behind a prompt by definition, with nothing stored.</summary>
    public static List<int> Plain(IEnumerable<int> prompt, int count)
    {
        ulong state = 0;
        int position = 0;
        List<int> output = [];
        foreach (int token in prompt) state = Fold(state, Kv(state, token, position++));
        while (output.Count < count)
        {
            output.Add(Choose(state));
            state = Fold(state, Kv(state, output[^1], position++));
        }
        return output;
    }

    /// <summary>So many tokens behind each prompt, in rounds of drafts, verification and realignment.</summary>
    public List<int>[] Generate(int[][] prompts, int count)
    {
        var shape = new PaddedShape(prompts.Length, Heads, HeadDim, Layers, Capacity, DType.F16, side);
        PaddedMemory memory = new(device, shape), other = new(device, shape);
        Prefill(memory, prompts);
        List<int>[] outputs = [.. prompts.Select(_ => new List<int>())];
        while (outputs.Any(output => output.Count < count))
        {
            int[][] gained = Verify(memory, [.. outputs.Select((output, i) => Drafts([.. prompts[i], .. output]))], out int[][] kept);
            for (int i = 0; i < outputs.Length; i++)
            {
                if (outputs[i].Count >= count) (gained[i], kept[i]) = ([], []);
                outputs[i].AddRange(gained[i]);
            }
            if (gained.Select(tokens => tokens.Length).Distinct().Count() > 1) RaggedRounds++;
            Realign(memory, kept, inPlace ? memory : other);
            if (!inPlace) (memory, other) = (other, memory);
        }
        memory.Dispose();
        other.Dispose();
        return [.. outputs.Select(output => output[..count])];
    }

    /// <summary>Puts prompts and the keys and values of all but their last tokens in place; zero where padding is.</summary>
    private void Prefill(PaddedMemory memory, int[][] prompts)
    {
        int length = prompts.Max(prompt => prompt.Length);
        memory.SetTokens(prompts, length);
        float[][] caches = [.. memory.Caches.Select(matrix => new float[matrix.Length])];
        for (int i = 0; i < prompts.Length; i++)
        {
            ulong state = 0;
            for (int t = 0; t < prompts[i].Length - 1; t++)
            {
                ulong kv = Kv(state, prompts[i][t], t);
                Store(caches, memory.Shape, i, (side == PaddingSide.Left ? length - prompts[i].Length : 0) + t, kv);
                state = Fold(state, kv);
            }
        }
        memory.Caches = caches;
    }

    /// <summary>What the target would say, some of it wrong.</summary>
    private int[] Drafts(IEnumerable<int> tokens) => [.. Plain(tokens, DraftLength).Select(token => _random.Next(4) == 0 ? _random.Next(Vocabulary) : token)];

    /// <summary>The target's pass over last tokens and drafts: writes keys and values behind the common length, accepts. What is kept goes into the batch, and is what was gained.</summary>
    private int[][] Verify(PaddedMemory memory, int[][] drafts, out int[][] kept)
    {
        int[][] ints = memory.Ints, gained = new int[drafts.Length][];
        float[][] caches = memory.Caches;
        int length = ints[4][0];
        kept = new int[drafts.Length][];
        for (int i = 0; i < drafts.Length; i++)
        {
            int last = i * Capacity + (side == PaddingSide.Left ? length : ints[3][i]) - 1;
            int[] inputs = [ints[0][last], .. drafts[i]], chosen = new int[inputs.Length];
            ulong state = Visible(memory.Shape, ints[2], caches, i, length, last);
            for (int t = 0; t < inputs.Length; t++)
            {
                int position = mistake == RoundMistake.PositionsNotRealigned ? length - 1 + t : ints[1][last] + t;
                ulong kv = Kv(state, inputs[t], position);
                Store(caches, memory.Shape, i, length - 1 + t, kv);
                state = Fold(state, kv);
                chosen[t] = Choose(state);
            }

            int accepted = drafts[i].Zip(chosen).TakeWhile(pair => pair.First == pair.Second).Count();
            int bonus = mistake == RoundMistake.BonusFromDraft && accepted < DraftLength ? drafts[i][accepted] : chosen[accepted];
            gained[i] = [.. drafts[i][..accepted], bonus];
            kept[i] = mistake == RoundMistake.RejectedKept ? [.. drafts[i], bonus] : gained[i];
        }
        memory.Caches = caches;
        return gained;
    }

    private void Realign(PaddedMemory memory, int[][] kept, PaddedMemory result)
    {
        const int most = DraftLength + 1;
        int[] flat = [.. kept.SelectMany(tokens => tokens.Concat(Enumerable.Repeat(-1, most - tokens.Length)))], lengths = [.. kept.Select(tokens => tokens.Length)];
        using DeviceBuffer gained = device.Upload<int>(flat), counts = device.Upload<int>(lengths);
        bool movesCaches = mistake != RoundMistake.CachesNotMoved;
        if (!movesCaches) result.Caches = memory.Caches;
        device.Operators.RealignPadded(
            memory.Batch, movesCaches ? memory.Layers : [], gained.AsSpan<int>(), counts.AsSpan<int>(), result.Batch, movesCaches ? result.Layers : []);
        result.AssertUntouchedAround();
    }

    /// <summary>The hash of what the last token of a sequence sees; its own column is not filled yet.</summary>
    private ulong Visible(PaddedShape shape, int[] mask, float[][] caches, int sequence, int length, int last)
    {
        ulong state = 0;
        for (int column = 0; column < length - 1; column++)
        {
            int index = sequence * Capacity + column;
            if (mistake == RoundMistake.OnesMask || (mask[index] == 1 && index != last))
                state = Fold(state, (matrix, head) => Load(caches[matrix].AsSpan((shape.Strip(sequence, head) + column) * HeadDim, HeadDim)));
        }
        return state;
    }

    private static void Store(float[][] caches, PaddedShape shape, int sequence, int column, ulong kv)
    {
        for (int matrix = 0; matrix < caches.Length; matrix++)
            for (int head = 0; head < Heads; head++)
            {
                byte[] bytes = BitConverter.GetBytes(Of(kv, matrix, head));
                for (int d = 0; d < HeadDim; d++) caches[matrix][(shape.Strip(sequence, head) + column) * HeadDim + d] = bytes[d];
            }
    }

    private static ulong Load(ReadOnlySpan<float> vector)
    {
        Span<byte> bytes = stackalloc byte[HeadDim];
        for (int d = 0; d < HeadDim; d++) bytes[d] = (byte)vector[d];
        return BitConverter.ToUInt64(bytes);
    }

    private static ulong Kv(ulong state, int token, int position) => Mix(state ^ Mix((ulong)token * 1_000_003 + (ulong)position));

    /// <summary>What one head of one matrix holds of a token.</summary>
    private static ulong Of(ulong kv, int matrix, int head) => Mix(kv + (ulong)(matrix * Heads + head));

    private static ulong Fold(ulong state, ulong kv) => Fold(state, (matrix, head) => Of(kv, matrix, head));

    private static ulong Fold(ulong state, Func<int, int, ulong> stored)
    {
        for (int matrix = 0; matrix < 2 * Layers; matrix++)
            for (int head = 0; head < Heads; head++) state = Mix(state ^ stored(matrix, head)) + 1;
        return state;
    }

    private static int Choose(ulong state) => (int)(Mix(state + 12345) % Vocabulary);

    private static ulong Mix(ulong x)
    {
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
        return x ^ (x >> 31);
    }
}
