using BenchmarkDotNet.Attributes;

namespace KernelForge.Bench;

/// <summary>Weights of a layer and what x is rounded to, as in "w4g128 int8".</summary>
public sealed record LayerFormat(string Weights, ActivationPrecision Activations)
{
    /// <summary>Null for dense weights.</summary>
    internal WeightFormat? Codes => Weights.StartsWith('w') ? WeightFormat.Parse(Weights) : null;

    public override string ToString() => $"{Weights} {Activations.ToString().ToLowerInvariant()}";
}

/// <summary>
/// Products of layers 2,048 wide with weights in the order of the CPU, each format with each precision of x. Weights come from memory: each call takes the next
/// of several copies, as the layers of a model come one after the other.
/// </summary>
public class MatMulLayerBench : CpuOperatorBench
{
    private const int Width = 2048;
    private const long RotatedBytes = 128 << 20; // several times a last-level cache's share

    private readonly List<DenseWeights> _dense = [];
    private readonly List<PackedWeights> _packed = [];
    private DeviceMatrix _x, _result;
    private int _next;

    public static IEnumerable<LayerFormat> Formats =>
    [
        new("F32", ActivationPrecision.Full),
        new("F16", ActivationPrecision.Full),
        new("BF16", ActivationPrecision.Full),
        new("BF16", ActivationPrecision.BF16),
        new("w8", ActivationPrecision.Full),
        new("w8", ActivationPrecision.Int8),
        new("w4g128", ActivationPrecision.Full),
        new("w4g128", ActivationPrecision.Int8),
        new("w4g32", ActivationPrecision.Int8),
    ];

    [ParamsSource(nameof(Formats), Priority = -1)]
    public LayerFormat Format { get; set; } = new("BF16", ActivationPrecision.Full);

    [Params(1, 8, 32, 128, 512)]
    public int Rows { get; set; }

    public override double Flops => 2.0 * Rows * Width * Width;

    public override double Bytes => WeightBytes + 2.0 * sizeof(float) * Rows * Width;

    internal override ActivationPrecision Activations => Format.Activations;

    private long WeightBytes => Format.Codes is { } codes
        ? PackedHeader.Of(codes, Width, Width, isGated: false, hasOrder: false).Layout.ReadBytes
        : (long)Width * Width * Enum.Parse<DType>(Format.Weights).Size();

    [Benchmark]
    public void MatMul()
    {
        _next++;
        if (_packed.Count > 0) Device.Operators.MatMulPacked(_x, _packed[_next % _packed.Count], _result, activations: Format.Activations);
        else Device.Operators.MatMul(_x, _dense[_next % _dense.Count], _result, activations: Format.Activations);
    }

    protected override void Allocate()
    {
        _x = Operands.Random(DType.F32, Rows, Width);
        _result = Operands.Random(DType.F32, Rows, Width);
        DeviceMatrix weights = Operands.Random(Format.Codes is null ? Enum.Parse<DType>(Format.Weights) : DType.BF16, Width, Width);
        for (int copies = (int)(RotatedBytes / WeightBytes) + 1; copies > 0; copies--)
        {
            if (Format.Codes is not { } codes) _dense.Add(DenseWeights.Pack(weights));
            else _packed.Add(codes.Bits == 4 ? W4Packer.Pack(weights, codes) : W8Packer.Pack(weights, codes));
        }
    }

    protected override void CloseDevice()
    {
        _dense.ForEach(weights => weights.Dispose());
        _packed.ForEach(weights => weights.Dispose());
        _dense.Clear();
        _packed.Clear();
        base.CloseDevice();
    }
}
