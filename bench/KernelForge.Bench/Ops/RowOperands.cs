namespace KernelForge.Bench;

/// <summary>The operators that take one row after the other.</summary>
public enum RowOperator
{
    RmsNorm,
    Rope,
    SiluMul,
    Embed,
    AppendKv,
}

/// <summary>What the row operators take, in one element type: heads of 128 where heads count.</summary>
internal sealed class RowOperands
{
    public const int HeadDim = 128, BlockSize = 16;

    public RowOperands(Operands operands, DType type, int rows, int columns)
    {
        (X, Y, Result) = (operands.Random(type, rows, columns), operands.Random(type, rows, columns), operands.Random(type, rows, columns));
        Weight = operands.Random(type, 1, columns);
        int angle = 0; // rotations, which keep x the size it has: it would become infinite or subnormal after some thousand calls
        Angles = operands.Matrix(DType.F32, rows, HeadDim, () => angle++ % HeadDim < HeadDim / 2 ? 0.6f : 0.8f);
        int[] positions = [.. Enumerable.Range(0, rows)];
        new Random(3).Shuffle(positions);
        Positions = operands.Span(positions);
        var format = new KvFormat(BlockSize, columns / HeadDim, HeadDim, type);
        Cache = new KvLayer(operands.Random(type, rows / BlockSize * format.RowsPerBlock, HeadDim), format);
    }

    public DeviceMatrix X { get; }

    public DeviceMatrix Y { get; }

    public DeviceMatrix Weight { get; }

    public DeviceMatrix Angles { get; }

    public DeviceMatrix Result { get; }

    public DeviceSpan<int> Positions { get; }

    public KvLayer Cache { get; }

    /// <summary>How many matrices an operator reads or writes.</summary>
    public static int Touched(RowOperator rowOperator) => rowOperator switch
    {
        RowOperator.SiluMul => 3,
        RowOperator.AppendKv => 4,
        _ => 2,
    };

    public void Run(Operators operators, RowOperator rowOperator)
    {
        switch (rowOperator)
        {
            case RowOperator.RmsNorm: operators.RmsNorm(X, Weight, 1e-5f, Result); break;
            case RowOperator.Rope: operators.Rope(X, Positions, Angles); break;
            case RowOperator.SiluMul: operators.SiluMul(X, Y, Result); break;
            case RowOperator.Embed: operators.Embed(Positions, Y, Result); break;
            default: operators.AppendKv(X, Y, Positions, Cache); break;
        }
    }
}
