namespace KernelForge.Bench;

/// <summary>Where keys and values lie.</summary>
public enum RealignLayout
{
    Paged,
    Padded,
}

/// <summary>A round of speculation to realign. Tokens of each sequence are those that move in a paged cache, the content of a padded one.</summary>
public sealed record RealignShape(RealignLayout Layout, int Sequences, int Tokens, int Layers, int Heads, int HeadDim)
{
    /// <summary>Most tokens that a sequence of a padded batch gains; those that gain as many stay where they are.</summary>
    public const int Most = 5;

    /// <summary>Tokens whose keys and values move, of all sequences.</summary>
    public long MovedTokens => Layout == RealignLayout.Paged
        ? (long)Sequences * Tokens
        : Enumerable.Range(0, Sequences).Select(GainOf).Where(gain => gain < Most).Sum(gain => Tokens + gain - 1L);

    /// <summary>Elements read and written.</summary>
    public double Elements => 2.0 * 2 * MovedTokens * Layers * Heads * HeadDim;

    /// <summary>Tokens that a sequence of a padded batch gains.</summary>
    public static int GainOf(int sequence) => Most - sequence % Most;

    /// <summary>As in Padded 16x1024, 32 layers of 8x128.</summary>
    public override string ToString() => $"{Layout} {Sequences}x{Tokens}, {Layers} layers of {Heads}x{HeadDim}";
}

/// <summary>What realignment takes. A call can be repeated: moves read what none writes, and lengths go to memory of their own.</summary>
internal sealed class RealignOperands
{
    private const int BlockSize = 16;

    private readonly RealignShape _shape;
    private readonly KvLayer[] _paged = [];
    private readonly PaddedLayer[] _padded = [];
    private readonly DeviceSpan<KvMove> _moves;
    private readonly DeviceSpan<int> _groups, _gained, _counts;
    private readonly PaddedBatch _before, _after;

    public RealignOperands(Operands operands, RealignShape shape, DType type)
    {
        _shape = shape;
        if (shape.Layout == RealignLayout.Paged)
        {
            int blocks = (2 * shape.Tokens + BlockSize - 1) / BlockSize; // of a sequence: its moves go from the second half of their slots to the first
            var format = new KvFormat(BlockSize, shape.Heads, shape.HeadDim, type);
            _paged = [.. Layers().Select(_ => new KvLayer(operands.Zero(type, shape.Sequences * blocks * format.RowsPerBlock, shape.HeadDim), format))];
            _moves = operands.Span<KvMove>([.. from sequence in Sequences() from token in Enumerable.Range(0, shape.Tokens)
                select new KvMove(sequence * blocks * BlockSize + shape.Tokens + token, sequence * blocks * BlockSize + token)]);
            _groups = operands.Span<int>([.. Enumerable.Range(0, shape.Sequences + 1).Select(group => group * shape.Tokens)]);
        }
        else
        {
            int capacity = shape.Tokens + RealignShape.Most;
            _padded = [.. Layers().Select(_ => new PaddedLayer(Cache(), Cache()))];
            (_before, _after) = (Batch(), Batch());
            _gained = operands.Span(new int[shape.Sequences * RealignShape.Most]);
            _counts = operands.Span<int>([.. Sequences().Select(RealignShape.GainOf)]);

            DeviceMatrix Cache() => operands.Zero(type, shape.Sequences * shape.Heads * capacity, shape.HeadDim);
            DeviceSpan<int> Row() => operands.Span(new int[shape.Sequences * capacity]);
            PaddedBatch Batch() => new(Row(), Row(), Row(), operands.Span<int>([.. Sequences().Select(_ => shape.Tokens)]), operands.Span([shape.Tokens]));
        }

        IEnumerable<int> Layers() => Enumerable.Range(0, shape.Layers);
        IEnumerable<int> Sequences() => Enumerable.Range(0, shape.Sequences);
    }

    public void Run(Operators operators)
    {
        if (_shape.Layout == RealignLayout.Paged) operators.Realign(_paged, _moves, _groups);
        else operators.RealignPadded(_before, _padded, _gained, _counts, _after, _padded);
    }
}
