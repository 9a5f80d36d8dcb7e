using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace KernelForge.Cpu;

/// <summary>Rows of words as tiles of rows have them: one word of each row after the other.</summary>
internal static unsafe class WordTiles
{
    /// <summary>Copies rows to a tile.</summary>
    /// <param name="rows">1, 2 or 4.</param>
    /// <param name="words">[rows, stride].</param>
    /// <param name="stride">Words from one row to the next.</param>
    /// <param name="count">Words of a row.</param>
    /// <param name="packed">[count][rows].</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void Interleave(int rows, uint* words, int stride, int count, uint* packed)
    {
        if (rows == 1) new Span<uint>(words, count).CopyTo(new Span<uint>(packed, count));
        else if (rows == 2)
            for (int i = 0; i < count; i++, packed += 2) (packed[0], packed[1]) = (words[i], words[stride + i]);
        else
            for (int i = 0; i < count; i++, packed += 4)
                Vector128.Create(words[i], words[stride + i], words[2 * stride + i], words[3 * stride + i]).Store(packed);
    }
}
