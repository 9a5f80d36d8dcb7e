namespace KernelForge.Inference;

/// <summary>
/// Puts prompts of different lengths into rows of one size, for execution in fixed shapes (Prepacking, arXiv:2404.09529). Everything else computes prompts one
/// after the other without any padding and needs no rows.
/// </summary>
/// <remarks>
/// First-fit decreasing: the longest prompts first, each into the first row that has room. It never takes more than 11/9 of the fewest rows possible and one
/// more. What a prompt is packed as is the caller's choice: with its last token, or without it where that is computed by the first decode.
/// </remarks>
public static class PromptPacker
{
    /// <summary>Rows of as many tokens as the longest prompt has, which is what padding would take for each prompt.</summary>
    /// <param name="lengths">Tokens of each prompt, 0 or more.</param>
    /// <exception cref="ArgumentException">A length is negative.</exception>
    public static PackedPrompts Pack(ReadOnlySpan<int> lengths)
    {
        int longest = 0;
        foreach (int length in lengths) longest = Math.Max(longest, length);
        return Pack(lengths, Math.Max(longest, 1));
    }

    /// <summary>Rows of <paramref name="capacity"/> tokens.</summary>
    /// <param name="lengths">Tokens of each prompt, 0 to <paramref name="capacity"/>.</param>
    /// <param name="capacity">Tokens of a row, 1 or more.</param>
    /// <exception cref="ArgumentException">The capacity is less than 1, or a prompt does not fit into a row.</exception>
    public static PackedPrompts Pack(ReadOnlySpan<int> lengths, int capacity)
    {
        if (capacity < 1) throw new ArgumentException($"PromptPacker: a row must have room for 1 token or more, not {capacity}.", nameof(capacity));
        int[] order = ByLength(lengths, capacity);
        var places = new PackedPrompt[lengths.Length];
        List<int> used = []; // tokens of each row
        foreach (int prompt in order)
        {
            int length = lengths[prompt], row = used.FindIndex(taken => taken + length <= capacity);
            if (row < 0)
            {
                row = used.Count;
                used.Add(0);
            }
            places[prompt] = new PackedPrompt(row, used[row], length);
            used[row] += length;
        }
        return new PackedPrompts(places, used.Count, capacity);
    }

    /// <summary>Prompts from the longest to the shortest; equal ones in their own order.</summary>
    private static int[] ByLength(ReadOnlySpan<int> lengths, int capacity)
    {
        var keys = new (int Negative, int Prompt)[lengths.Length];
        for (int i = 0; i < lengths.Length; i++)
        {
            if (lengths[i] < 0 || lengths[i] > capacity)
                throw new ArgumentException($"PromptPacker: prompts must have 0 to {capacity} tokens, prompt {i} has {lengths[i]}.", nameof(lengths));
            keys[i] = (-lengths[i], i);
        }
        Array.Sort(keys);
        return Array.ConvertAll(keys, key => key.Prompt);
    }
}
