using System.Numerics;

namespace KernelForge.Cpu;

/// <summary>
/// Finds the largest logits of a row without sorting it. A token is one number whose ascending order is that of descending logits, ties to the lower id:
/// the inverted, order-preserving bits of the logit, then the id. NaN counts as negative infinity.
/// </summary>
internal static unsafe class TopTokens
{
    /// <summary>Not below the key of any token; as a logit it is negative infinity.</summary>
    public const ulong AfterAll = 0xFF800000_FFFFFFFF;

    public static ulong Key(float logit, int id)
    {
        float value = float.IsNaN(logit) ? float.NegativeInfinity : logit + 0f; // -0 + 0 is +0: equal logits have equal bits
        uint bits = BitConverter.SingleToUInt32Bits(value);
        uint ascending = (bits & 0x80000000) != 0 ? ~bits : bits | 0x80000000;
        return ((ulong)~ascending << 32) | (uint)id;
    }

    public static int Id(ulong key) => (int)(uint)key;

    public static float Logit(ulong key)
    {
        uint ascending = ~(uint)(key >> 32);
        return BitConverter.UInt32BitsToSingle((ascending & 0x80000000) != 0 ? ascending & 0x7FFFFFFF : ~ascending);
    }

    /// <summary>Fills <paramref name="best"/>, at most as long as the row, with its best tokens in any order.</summary>
    public static void Select<TLanes>(float* logits, int length, Span<ulong> best) where TLanes : struct, ILanes<TLanes>
    {
        if (best.IsEmpty) return;
        for (int i = 0; i < best.Length; i++) best[i] = Key(logits[i], i);
        for (int parent = best.Length / 2 - 1; parent >= 0; parent--) SiftDown(best, parent);

        TLanes bound = TLanes.Fill(Logit(best[0]));
        for (int i = best.Length; i < length; i += Lanes.Count)
        {
            uint mask = TLanes.GreaterOrEqual(Elements.Load<TLanes>((nint)logits, DType.F32, i, length), bound);
            if (length - i < Lanes.Count) mask &= (1u << (length - i)) - 1;
            if (mask == 0) continue;
            for (; mask != 0; mask &= mask - 1)
            {
                int id = i + BitOperations.TrailingZeroCount(mask);
                ulong key = Key(logits[id], id);
                if (key >= best[0]) continue;
                best[0] = key;
                SiftDown(best, 0);
            }

            bound = TLanes.Fill(Logit(best[0]));
        }
    }

    /// <summary>Restores the heap below a parent; its root is the worst of the best.</summary>
    private static void SiftDown(Span<ulong> heap, int parent)
    {
        ulong moved = heap[parent];
        while (2 * parent + 1 < heap.Length)
        {
            int child = 2 * parent + 1;
            if (child + 1 < heap.Length && heap[child + 1] > heap[child]) child++;
            if (heap[child] <= moved) break;
            heap[parent] = heap[child];
            parent = child;
        }

        heap[parent] = moved;
    }
}
