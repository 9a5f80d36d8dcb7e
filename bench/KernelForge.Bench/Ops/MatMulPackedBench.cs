using BenchmarkDotNet.Attributes;

namespace KernelForge.Bench;

/// <summary>result[Rows, Columns] = x[Rows, K] · weights[Columns, K]ᵀ.</summary>
public sealed record PackedShape(int Rows, int Columns, int K)
{
    public override string ToString() => $"{Rows}x{Columns}x{K}";
}

/// <summary>Products with quantised weights beside the same product with BF16 weights. Weights come from memory: each call takes the next of several copies.</summary>
public class MatMulPackedBench : CpuOperatorBench
{
    private const string Dense = "bf16";
    private const long RotatedBytes = 128 << 20; // several times a last-level cache's share

    private readonly List<PackedWeights> _packed = [];
    private readonly List<DeviceMatrix> _dense = [];
    private DeviceMatrix _x, _result;
    private int _next;

    // A layer of a large model, and the largest of one with 110 M parameters.
    public static IEnumerable<PackedShape> Shapes =>
        from layer in ((int Columns, int K)[])[(4096, 4096), (2048, 768)] from rows in (int[])[1, 8, 32, 512] select new PackedShape(rows, layer.Columns, layer.K);

    [ParamsSource(nameof(Shapes))]
    public PackedShape Shape { get; set; } = new(1, 1, 1);

    [Params(Dense, "w8", "w4g128", Priority = -1)]
    public string Weights { get; set; } = Dense;

    public override double Flops => 2.0 * Shape.Rows * Shape.Columns * Shape.K;

    public override double Bytes => WeightBytes + sizeof(float) * ((double)Shape.Rows * Shape.K + (double)Shape.Rows * Shape.Columns);

    private long WeightBytes => Weights == Dense
        ? (long)Shape.Columns * Shape.K * DType.BF16.Size()
        : PackedHeader.Of(WeightFormat.Parse(Weights), Shape.Columns, Shape.K, isGated: false, hasOrder: false).Layout.ReadBytes;

    [Benchmark]
    public void MatMul()
    {
        _next++;
        if (Weights == Dense) Device.Operators.MatMul(_x, _dense[_next % _dense.Count], _result);
        else Device.Operators.MatMulPacked(_x, _packed[_next % _packed.Count], _result);
    }

    protected override void Allocate()
    {
        _x = Operands.Random(DType.F32, Shape.Rows, Shape.K);
        _result = Operands.Random(DType.F32, Shape.Rows, Shape.Columns);
        DeviceMatrix weights = Operands.Random(DType.BF16, Shape.Columns, Shape.K);
        for (int copies = (int)(RotatedBytes / WeightBytes) + 1; copies > 0; copies--)
        {
            if (Weights == Dense) _dense.Add(copies == 1 ? weights : Operands.Random(DType.BF16, Shape.Columns, Shape.K));
            else _packed.Add(Packed(weights, WeightFormat.Parse(Weights)));
        }
    }

    protected override void CloseDevice()
    {
        _packed.ForEach(weights => weights.Dispose());
        _packed.Clear();
        _dense.Clear();
        base.CloseDevice();
    }

    private static PackedWeights Packed(in DeviceMatrix weights, WeightFormat format) =>
        format.Bits == 4 ? W4Packer.Pack(weights, format) : W8Packer.Pack(weights, format);
}
