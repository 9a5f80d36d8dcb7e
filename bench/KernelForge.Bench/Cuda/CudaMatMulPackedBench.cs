using System.Runtime.InteropServices;
using BenchmarkDotNet.Attributes;

namespace KernelForge.Bench;

/// <summary>A product of some rows with weights of a format, or of BF16 where there is none.</summary>
public sealed record MatMulPackedShape(WeightFormat Format, int Rows, int Columns, int K)
{
    /// <summary>As in w4g128 16x4096x14336: rows, columns, k.</summary>
    public override string ToString() => $"{Format} {Rows}x{Columns}x{K}";
}

/// <summary>
/// Products with weights of 4 and 8 bits, and in the same case with dense ones, so the speed-up is 1 / the column Ratio. Rates and the roofline of both rows count the quantised bytes.
/// Weights come from memory, as in a model whose layers follow each other: each call takes another copy.
/// </summary>
public class CudaMatMulPackedBench : CudaOperatorBench
{
    private const long ColdBytes = 256 << 20; // beyond the second-level cache
    private const int PatternBytes = 1 << 20;

    private readonly List<DeviceMatrix> _dense = [];
    private readonly List<PackedWeights> _packed = [];
    private DeviceMatrix _x, _result;
    private int _nextDense, _nextPacked;

    // The four products of a layer of an 8B model and the largest of a 70B model, from one token to a long prompt; the demo model's.
    public static IEnumerable<MatMulPackedShape> Shapes =>
    [
        .. from format in (WeightFormat[])[WeightFormat.W4Group128, WeightFormat.W8PerChannel]
           from matrix in ((int Columns, int K)[])[(6144, 4096), (4096, 4096), (28_672, 4096), (4096, 14_336), (28_672, 8192), (8192, 28_672)]
           from rows in (int[])[1, 4, 8, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024, 4096]
           select new MatMulPackedShape(format, rows, matrix.Columns, matrix.K),
        new(WeightFormat.W4Group128, 1, 512, 256),
        new(WeightFormat.W8PerChannel, 32, 512, 256),
    ];

    [ParamsSource(nameof(Shapes))]
    public MatMulPackedShape Shape { get; set; } = new(WeightFormat.W4Group128, 1, 128, 128);

    public override double Flops => 2.0 * Shape.Rows * Shape.Columns * Shape.K;

    public override double Bytes => Header.Layout.ReadBytes + (double)DType.BF16.Size() * Shape.Rows * (Shape.K + Shape.Columns);

    private PackedHeader Header => PackedHeader.Of(Shape.Format, Shape.Columns, Shape.K, isGated: false, hasOrder: false);

    [Benchmark]
    public void Packed()
    {
        Device.Operators.MatMulPacked(_x, _packed[_nextPacked], _result);
        _nextPacked = (_nextPacked + 1) % _packed.Count;
    }

    [Benchmark(Baseline = true)]
    public void Dense()
    {
        Device.Operators.MatMul(_x, _dense[_nextDense], _result);
        _nextDense = (_nextDense + 1) % _dense.Count;
    }

    protected override void Allocate()
    {
        _x = Operands.Random(DType.BF16, Shape.Rows, Shape.K);
        _result = Operands.Random(DType.BF16, Shape.Rows, Shape.Columns);
        _dense.Clear();
        _packed.Clear();
        long bytes = (long)Shape.Columns * Shape.K * DType.BF16.Size();
        for (long copies = Math.Clamp(ColdBytes / bytes, 2, 8); copies > 0; copies--) _dense.Add(NewDense(bytes));
        for (long copies = Math.Clamp(ColdBytes / Header.Layout.Bytes, 2, 32); copies > 0; copies--) _packed.Add(NewPacked());
    }

    protected override void CloseDevice()
    {
        _packed.ForEach(weights => weights.Dispose());
        base.CloseDevice();
    }

    private DeviceMatrix NewDense(long bytes)
    {
        var random = new Random(1);
        var pattern = new BFloat16[PatternBytes / DType.BF16.Size()];
        for (int i = 0; i < pattern.Length; i++) pattern[i] = (BFloat16)(2 * random.NextSingle() - 1);
        DeviceBuffer buffer = Operands.Buffer(DType.BF16, bytes / DType.BF16.Size());
        Repeat(buffer, MemoryMarshal.AsBytes(pattern.AsSpan()), 0, bytes);
        return buffer.AsMatrix(Shape.Columns, Shape.K);
    }

    /// <summary>Random codes; scales of 1 / 64.</summary>
    private PackedWeights NewPacked()
    {
        PackedHeader header = Header;
        PackedWeights weights = PackedWeights.Allocate(Device, header);
        var codes = new byte[PatternBytes];
        new Random(1).NextBytes(codes);
        var scales = new float[PatternBytes / sizeof(float)];
        scales.AsSpan().Fill(1f / 64);
        Repeat(weights.Buffer, codes, 0, header.Layout.ScalesOffset);
        Repeat(weights.Buffer, MemoryMarshal.AsBytes(scales.AsSpan()), header.Layout.ScalesOffset, header.Layout.Bytes);
        return weights;
    }

    private static void Repeat(DeviceBuffer buffer, ReadOnlySpan<byte> pattern, long start, long end)
    {
        for (long at = start; at < end; at += pattern.Length) buffer.CopyFrom(pattern[..(int)Math.Min(pattern.Length, end - at)], at);
    }
}
