using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KernelForge.Inference;

/// <summary>
/// Moves the keys and values that branches of token trees need in several places: history before a pass, new ones within it, those of the accepted path behind it.
/// Steps without branches move nothing and upload nothing.
/// </summary>
internal sealed class BranchMoves(KvCache cache)
{
    private readonly List<KvMove> _moves = [];
    private readonly List<int> _forkGroups = [], _copyGroups = [], _ints = [];
    private DeviceSpan<int> _slots, _targets, _rowStarts;
    private long _layerCopies; // of a pass, over its layers

    /// <summary>Bytes of an arena for so many blocks of branches, sequences and nodes.</summary>
    public static long ArenaBytes(int blocks, int blockSize, int rows, int nodes) => blocks == 0 ? 0
        : Arena.Rounded((long)blocks * blockSize * Unsafe.SizeOf<KvMove>()) + Arena.Rounded((2L * (blocks + 1) + rows + 1 + 2L * nodes) * sizeof(int))
            + Arena.Rounded((long)nodes * Unsafe.SizeOf<KvMove>());

    /// <summary>Bytes of an arena that <see cref="Copy"/> takes for so many blocks of branches.</summary>
    public static long CopyBytes(int blocks, int blockSize) => blocks == 0 ? 0
        : Arena.Rounded((long)blocks * blockSize * Unsafe.SizeOf<KvMove>()) + Arena.Rounded((blocks + 1L) * sizeof(int));

    /// <summary>Copies the history of branches and returns the batch with the copies that its pass makes.</summary>
    public StepBatch Fork(DraftPaths paths, in StepBatch batch, Arena arena)
    {
        if (!paths.HasBranches) return batch;
        FindGroups(paths.Paths);
        _moves.Clear();
        _moves.AddRange(paths.Forks);
        _moves.AddRange(paths.Copies);
        DeviceSpan<KvMove> moves = arena.Upload<KvMove>(CollectionsMarshal.AsSpan(_moves));
        DeviceSpan<int> ints = UploadInts(paths, arena);
        DeviceSpan<int> forkGroups = Take(ref ints, _forkGroups.Count), copyGroups = Take(ref ints, _copyGroups.Count);
        _rowStarts = Take(ref ints, paths.RowStarts.Length);
        (_slots, _targets) = (Take(ref ints, paths.Slots.Length), ints);

        int forks = paths.Forks.Length;
        _layerCopies = (long)paths.Copies.Length * cache.Layers.Length;
        if (forks > 0) moves.Device!.Operators.Realign(cache.Layers, moves.Slice(0, forks), forkGroups);
        return batch with { Copies = moves.Slice(forks, paths.Copies.Length), CopyGroups = copyGroups };
    }

    /// <summary>Returns a batch of some of the paths with the copies that they make from a layer on.</summary>
    public StepBatch Copy(DraftPaths paths, ReadOnlySpan<int> kept, int firstLayer, in StepBatch batch, Arena arena)
    {
        if (!paths.HasBranches) return batch;
        _moves.Clear();
        _copyGroups.Clear();
        foreach (int path in kept)
        {
            Run copies = paths.Paths[path].Copies;
            if (copies.Count > 0) _copyGroups.Add(_moves.Count);
            _moves.AddRange(paths.Copies.Slice(copies.First, copies.Count));
        }
        _copyGroups.Add(_moves.Count);
        _layerCopies -= (long)(paths.Copies.Length - _moves.Count) * (cache.Layers.Length - firstLayer);
        if (_moves.Count == 0) return batch;
        DeviceSpan<KvMove> moves = arena.Upload<KvMove>(CollectionsMarshal.AsSpan(_moves));
        return batch with { Copies = moves, CopyGroups = arena.Upload<int>(CollectionsMarshal.AsSpan(_copyGroups)) };
    }

    /// <summary>Gathers the accepted paths of what was verified into the blocks of their sequences, without waiting for what was accepted.</summary>
    public void Accept(DraftPaths paths, DraftVerifier verifier, Arena arena)
    {
        if (!paths.HasBranches) return;
        DeviceSpan<KvMove> moves = arena.Span<KvMove>(_slots.Length);
        verifier.FindMoves(_slots, _targets, moves);
        moves.Device!.Operators.Realign(cache.Layers, moves, _rowStarts);
    }

    /// <summary>Bytes that the step has moved, when it is known what was accepted.</summary>
    public long BytesMoved(DraftPaths paths, DraftVerifier verifier)
    {
        if (!paths.HasBranches) return 0;
        long moves = paths.Forks.Length;
        for (int i = 0; i < paths.RowStarts.Length - 1; i++)
        {
            ReadOnlySpan<int> slots = paths.Slots[paths.RowStarts[i]..], targets = paths.Targets[paths.RowStarts[i]..], accepted = verifier.Path(i);
            for (int t = 0; t < accepted.Length; t++)
                if (slots[accepted[t]] != targets[t]) moves++;
        }
        return moves * cache.BytesPerPosition + _layerCopies * (cache.BytesPerPosition / cache.Layers.Length);
    }

    /// <summary>The moves of a branch are a group.</summary>
    private void FindGroups(ReadOnlySpan<DraftPath> paths)
    {
        _forkGroups.Clear();
        _copyGroups.Clear();
        foreach (ref readonly DraftPath path in paths)
        {
            if (path.Forks.Count > 0) _forkGroups.Add(path.Forks.First);
            if (path.Copies.Count > 0) _copyGroups.Add(path.Copies.First);
        }
        _forkGroups.Add(paths[^1].Forks.First + paths[^1].Forks.Count);
        _copyGroups.Add(paths[^1].Copies.First + paths[^1].Copies.Count);
    }

    private static DeviceSpan<int> Take(ref DeviceSpan<int> left, int length)
    {
        DeviceSpan<int> taken = left.Slice(0, length);
        left = left.Slice(length, left.Length - length);
        return taken;
    }

    private DeviceSpan<int> UploadInts(DraftPaths paths, Arena arena)
    {
        _ints.Clear();
        _ints.AddRange(_forkGroups);
        _ints.AddRange(_copyGroups);
        _ints.AddRange(paths.RowStarts);
        _ints.AddRange(paths.Slots);
        _ints.AddRange(paths.Targets);
        return arena.Upload<int>(CollectionsMarshal.AsSpan(_ints));
    }
}
