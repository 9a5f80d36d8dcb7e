using BenchmarkDotNet.Attributes;

namespace KernelForge.Bench;

public class CudaMatMulBench : CudaOperatorBench
{
    private const long ColdBytes = 256 << 20; // beyond the second-level cache

    private readonly List<DeviceMatrix> _weights = [];
    private DeviceMatrix _x, _result;
    private int _next;

    // The matrices of a layer of an 8B model, from one token to a long prompt; the demo model's, as its engine calls them.
    public static IEnumerable<MatMulShape> Shapes =>
    [
        .. from rows in (int[])[1, 16, 64, 512, 4096]
           from matrix in ((int Columns, int K)[])[(6144, 4096), (28_672, 4096), (4096, 14_336)]
           select new MatMulShape(DType.BF16, rows, matrix.Columns, matrix.K),
        new(DType.F16, 1, 512, 256),
        new(DType.F16, 32, 512, 256),
    ];

    [ParamsSource(nameof(Shapes))]
    public MatMulShape Shape { get; set; } = new(DType.BF16, 1, 1, 1);

    public override double Flops => 2.0 * Shape.Rows * Shape.Columns * Shape.K;

    public override double Bytes =>
        Shape.Weights.Size() * ((double)Shape.Columns * Shape.K + (double)Shape.Rows * Shape.K + (double)Shape.Rows * Shape.Columns);

    /// <summary>Weights come from memory, as in a model whose layers follow each other: each call takes another copy.</summary>
    [Benchmark]
    public void MatMul()
    {
        Device.Operators.MatMul(_x, _weights[_next], _result);
        _next = (_next + 1) % _weights.Count;
    }

    protected override void Allocate()
    {
        _x = Operands.Random(Shape.Weights, Shape.Rows, Shape.K);
        _result = Operands.Random(Shape.Weights, Shape.Rows, Shape.Columns);
        _weights.Clear();
        long bytes = (long)Shape.Columns * Shape.K * Shape.Weights.Size();
        for (long copies = Math.Clamp(ColdBytes / bytes, 2, 8); copies > 0; copies--) _weights.Add(Operands.Random(Shape.Weights, Shape.Columns, Shape.K));
    }
}
