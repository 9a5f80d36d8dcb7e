using System.Runtime.InteropServices;

namespace KernelForge.Inference;

/// <summary>
/// How many prompt tokens could be saved if every block of the prompts were computed once and kept for good: the bound that no order and no cache can beat.
/// A prompt's last token is always computed, so that a block which ends with it is computed in any case.
/// </summary>
internal sealed class SharablePrefixes(int blockSize)
{
    private readonly Dictionary<ulong, Uses> _blocks = []; // by the hash of all tokens up to the block's end
    private long _saved; // in blocks

    private record struct Uses(bool Shared, bool Free);

    /// <summary>Prompt tokens that need not be computed.</summary>
    public long Tokens => _saved * blockSize;

    /// <summary>Counts a prompt. The turn before it had computed its first <paramref name="known"/> tokens; those that no prompt had are an answer.</summary>
    public void Add(ReadOnlySpan<int> prompt, int known)
    {
        ulong hash = 0;
        for (int end = blockSize; end <= prompt.Length; end += blockSize)
        {
            foreach (int token in prompt.Slice(end - blockSize, blockSize)) hash = SimulatedRandom.Hash(hash, (ulong)token);
            ref Uses uses = ref CollectionsMarshal.GetValueRefOrAddDefault(_blocks, hash, out bool seen);
            Count(ref uses, needed: end < prompt.Length, free: end == prompt.Length || (end <= known && !seen));
        }
    }

    /// <summary>The first that needs a block computes it, unless somebody does so anyway.</summary>
    private void Count(ref Uses uses, bool needed, bool free)
    {
        if (free && !uses.Free && uses.Shared) _saved++;
        uses.Free |= free;
        if (!needed) return;
        if (uses.Shared || uses.Free) _saved++;
        uses.Shared = true;
    }
}
