namespace KernelForge.Tests;

/// <summary>Shape of a padded batch with caches.</summary>
internal readonly record struct PaddedShape(int Sequences, int Heads, int HeadDim, int Layers, int Capacity, DType DType, PaddingSide Side)
{
    /// <summary>First row of a strip: the keys or values of a head of a sequence in one matrix.</summary>
    public int Strip(int sequence, int head) => (sequence * Heads + head) * Capacity;
}

/// <summary>A padded batch and its caches in guarded memory, where nothing is set yet: ints are -1, keys and values NaN.</summary>
internal sealed class PaddedMemory : IDisposable
{
    public const int PadToken = 2; // a token like others

    private readonly GuardedMatrix[] _matrices;
    private readonly GuardedMatrix _tokens, _positions, _mask, _contents, _length;

    public PaddedMemory(Device device, PaddedShape shape)
    {
        Shape = shape;
        _matrices = [.. Enumerable.Range(0, 2 * shape.Layers).Select(_ => new GuardedMatrix(device, shape.DType, shape.Sequences * shape.Heads * shape.Capacity, shape.HeadDim))];
        (_tokens, _positions, _mask) = (Rows(), Rows(), Rows());
        (_contents, _length) = (new GuardedMatrix(device, DType.I32, 1, shape.Sequences), new GuardedMatrix(device, DType.I32, 1, 1));

        GuardedMatrix Rows() => new(device, DType.I32, shape.Sequences, shape.Capacity);
    }

    public PaddedShape Shape { get; }

    public PaddedBatch Batch => new(_tokens.Span<int>(), _positions.Span<int>(), _mask.Span<int>(), _contents.Span<int>(), _length.Span<int>())
    {
        Side = Shape.Side,
        PadToken = PadToken,
    };

    public PaddedLayer[] Layers => [.. Enumerable.Range(0, Shape.Layers).Select(layer => new PaddedLayer(_matrices[2 * layer], _matrices[2 * layer + 1]))];

    /// <summary>Keys, values of each layer, on the host.</summary>
    public float[][] Caches
    {
        get => [.. _matrices.Select(matrix => matrix.Get())];
        set
        {
            for (int i = 0; i < value.Length; i++) _matrices[i].Set(value[i]);
        }
    }

    /// <summary>Every int that there is, on the host.</summary>
    public int[][] Ints => [Batch.Tokens.ToArray(), Batch.Positions.ToArray(), Batch.Mask.ToArray(), Batch.ContentLengths.ToArray(), Batch.Length.ToArray()];

    /// <summary>Sets tokens and everything that follows from them, with so many columns in use.</summary>
    public void SetTokens(IReadOnlyList<IReadOnlyList<int>> sequences, int length)
    {
        (int[] tokens, int[] positions, int[] mask) = Layout(sequences, length);
        Batch.Tokens.CopyFrom(tokens);
        Batch.Positions.CopyFrom(positions);
        Batch.Mask.CopyFrom(mask);
        Batch.ContentLengths.CopyFrom([.. sequences.Select(sequence => sequence.Count)]);
        Batch.Length.CopyFrom([length]);
    }

    /// <summary>The invariants I1 and I2 of EQSPEC by their words: content ends (or starts) at the same column, positions count content columns.</summary>
    public (int[] Tokens, int[] Positions, int[] Mask) Layout(IReadOnlyList<IReadOnlyList<int>> sequences, int length)
    {
        int capacity = Shape.Capacity;
        int[] tokens = new int[sequences.Count * capacity], positions = new int[tokens.Length], mask = new int[tokens.Length];
        tokens.AsSpan().Fill(PadToken);
        for (int i = 0; i < sequences.Count; i++)
        {
            int start = i * capacity + (Shape.Side == PaddingSide.Left ? length - sequences[i].Count : 0), contentSoFar = 0;
            for (int t = 0; t < sequences[i].Count; t++) (tokens[start + t], mask[start + t]) = (sequences[i][t], 1);
            for (int column = i * capacity; column < (i + 1) * capacity; column++)
            {
                contentSoFar += mask[column];
                positions[column] = Math.Max(0, contentSoFar - 1);
            }
        }
        return (tokens, positions, mask);
    }

    public void AssertUntouchedAround()
    {
        foreach (GuardedMatrix matrix in (GuardedMatrix[])[.. _matrices, _tokens, _positions, _mask, _contents, _length]) matrix.AssertUntouchedAround();
    }

    public void Dispose()
    {
        foreach (GuardedMatrix matrix in (GuardedMatrix[])[.. _matrices, _tokens, _positions, _mask, _contents, _length]) matrix.Dispose();
    }
}
