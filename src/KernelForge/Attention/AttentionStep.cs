using System.Numerics;
using System.Runtime.InteropServices;

namespace KernelForge;

/// <summary>The sequences of a step on the host: the arrays of an <see cref="AttentionBatch"/>.</summary>
internal readonly ref struct AttentionStep(
    ReadOnlySpan<int> queryOffsets, ReadOnlySpan<int> contextLengths, ReadOnlySpan<int> blockOffsets, ReadOnlySpan<int> blockTables)
{
    public ReadOnlySpan<int> QueryOffsets { get; } = queryOffsets;
    public ReadOnlySpan<int> ContextLengths { get; } = contextLengths;
    public ReadOnlySpan<int> BlockOffsets { get; } = blockOffsets;
    public ReadOnlySpan<int> BlockTables { get; } = blockTables;

    public int Sequences => ContextLengths.Length;

    public int Tokens => QueryOffsets[^1];

    public int Length(int sequence) => QueryOffsets[sequence + 1] - QueryOffsets[sequence];

    /// <summary>Block ids of a sequence.</summary>
    public ReadOnlySpan<int> Table(int sequence) => BlockTables[BlockOffsets[sequence]..BlockOffsets[sequence + 1]];

    /// <exception cref="ArgumentException">The arrays contradict each other.</exception>
    public void Check(KvFormat format, int blocks)
    {
        KernelForge.Check.That(QueryOffsets.Length == Sequences + 1 && BlockOffsets.Length == Sequences + 1,
            $"AttentionPlanner: {QueryOffsets.Length} query offsets and {BlockOffsets.Length} block offsets given, expected {Sequences + 1} for {Sequences} sequences");
        KernelForge.Check.That(QueryOffsets[0] == 0, $"AttentionPlanner: query offsets start at {QueryOffsets[0]}, expected 0");
        for (int s = 0; s < Sequences; s++)
        {
            int length = Length(s), context = ContextLengths[s], start = BlockOffsets[s], end = BlockOffsets[s + 1];
            KernelForge.Check.That(length >= 0 && context >= 0, $"AttentionPlanner: sequence {s} has {length} query tokens and a context of {context}");
            KernelForge.Check.That(start >= 0 && end <= BlockTables.Length && end - start >= ((long)context + length + format.BlockSize - 1) / format.BlockSize,
                $"AttentionPlanner: sequence {s} has the block ids {start} .. {end - 1} of {BlockTables.Length}, too few for {context} + {length} tokens in blocks of {format.BlockSize}");
        }
        CheckBlocks(blocks);
    }

    private void CheckBlocks(int blocks)
    {
        ReadOnlySpan<uint> ids = MemoryMarshal.Cast<int, uint>(BlockTables);
        ReadOnlySpan<Vector<uint>> vectors = MemoryMarshal.Cast<uint, Vector<uint>>(ids);
        Vector<uint> largest = Vector<uint>.Zero;
        foreach (Vector<uint> vector in vectors) largest = Vector.Max(largest, vector);
        bool isInside = Vector.LessThanAll(largest, new Vector<uint>((uint)blocks)) || vectors.IsEmpty;
        foreach (uint id in ids[(vectors.Length * Vector<uint>.Count)..]) isInside &= id < (uint)blocks;
        if (isInside) return;
        foreach (int id in BlockTables)
            KernelForge.Check.That((uint)id < (uint)blocks, $"AttentionPlanner: block {id} in a block table, the cache has {blocks}");
    }
}
