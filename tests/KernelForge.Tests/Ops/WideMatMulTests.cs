using KernelForge.Cuda;

namespace KernelForge.Tests;

/// <summary>wide_matmul on every CUDA device: the bits of the readable kernels, whatever the weights, the shape and what is fused.</summary>
public sealed class WideMatMulTests : IDisposable
{
    private static readonly CudaDeviceOptions Simple = new() { MatMulPath = MatMulPath.Simple };
    private static readonly CudaDeviceOptions LanesWalked = new() { MatMulPath = MatMulPath.Wide, WideLanesApart = false };
    private static readonly CudaDeviceOptions LanesApart = new() { MatMulPath = MatMulPath.Wide, WideLanesApart = true };

    private readonly Dictionary<(string, CudaDeviceOptions), Device> _devices = [];

    public static TheoryData<string, string> Cases => Tests.Cases.Of(Devices.CudaNames, ["dense", .. QuantizedMatrices.FormatNames]);

    public static TheoryData<string, string> FewCases => Tests.Cases.Of(Devices.CudaNames, ["dense", "w4g128", "w4g32-asym", "w8", "w8g64"]);

    [DeviceTheory, MemberData(nameof(Cases))]
    public void WideMatMul_AnyShape_SameBitsAsTheSimpleKernel(string deviceName, string weights)
    {
        // Rows: a warp's, about a tile's, about two. Outputs and k: odd sizes, and whole tiles and steps.
        AssertSame(deviceName, weights, new Product(Rows: 65, Outputs: 70, Groups: 5, FloatResult: true, XGap: 8));
        AssertSame(deviceName, weights, new Product(Rows: 129, Outputs: 130, Groups: 2, XGap: 3, ResultGap: 1, HasBias: true, Type: DType.BF16));
        AssertSame(deviceName, weights, new Product(Rows: 100, Outputs: 64, Groups: 7, HasResidual: true, Type: DType.BF16));
    }

    [DeviceTheory, MemberData(nameof(FewCases))]
    public void WideMatMul_FewRowsAndManyRows_SameBitsAsTheSimpleKernel(string deviceName, string weights)
    {
        foreach (int rows in (int[])[1, 7, 33, 64, 128, 200, 257])
            AssertSame(deviceName, weights, new Product(rows, Outputs: 33, HasBias: rows % 2 == 0, Type: rows % 3 == 0 ? DType.BF16 : DType.F16));
        AssertSame(deviceName, weights, new Product(Rows: 1030, Outputs: 260)); // more than the 8 tiles of rows that go together
    }

    [DeviceTheory, MemberData(nameof(FewCases))]
    public void WideMatMul_SeveralLanes_SameBitsAsTheSimpleKernel(string deviceName, string weights)
    {
        AssertSame(deviceName, weights, new Product(Rows: 66, Outputs: 40, K: 1280, FloatResult: true)); // two lanes of 640
        AssertSame(deviceName, weights, new Product(
            Rows: 65, Outputs: 17, K: 2176 + (IsPerChannel(weights) ? 5 : 0), FloatResult: true, Type: DType.BF16)); // four, the last is shorter
    }

    [DeviceTheory, MemberData(nameof(FewCases))]
    public void WideMatMul_BiasResidualAndStrides_SameBitsAsTheSimpleKernel(string deviceName, string weights)
    {
        foreach (bool floatResult in (bool[])[false, true])
            foreach (int gap in (int[])[0, 8, 5])
                AssertSame(deviceName, weights, new Product(
                    Rows: 70, Outputs: 136 + gap % 4, HasBias: true, HasResidual: true, FloatResult: floatResult, XGap: gap, ResultGap: gap));
    }

    [DeviceTheory, MemberData(nameof(FewCases))]
    public void WideMatMul_GatedWeights_SameBitsAsTheSimpleKernel(string deviceName, string weights)
    {
        if (weights == "dense") return; // gates and up projection are apart
        AssertSame(deviceName, weights, new Product(Rows: 65, Outputs: 2 * 72, Groups: 2, IsGated: true));
        AssertSame(deviceName, weights, new Product(Rows: 67, Outputs: 2 * 24, IsGated: true, HasBias: true, HasResidual: true, ResultGap: 3));
        AssertSame(deviceName, weights, new Product(Rows: 66, Outputs: 2 * 136, IsGated: true, HasBias: true, FloatResult: true, Type: DType.BF16));
    }

    [DeviceTheory, MemberData(nameof(FewCases))]
    public void WideMatMul_NanAndInfinity_StayInTheirRows(string deviceName, string weights) =>
        AssertSame(deviceName, weights, new Product(Rows: 70, Outputs: 24, Groups: 2, FloatResult: true, IsSpoilt: true));

    [DeviceTheory, MemberData(nameof(Devices.AllCuda), MemberType = typeof(Devices))]
    public void WideMatMul_KIsZero_GivesTheBias(string deviceName) =>
        AssertSame(deviceName, "dense", new Product(Rows: 66, Outputs: 9, K: 0, HasBias: true, XGap: 1));

    public void Dispose()
    {
        foreach (Device device in _devices.Values) device.Dispose();
    }

    private static bool IsPerChannel(string weights) => weights == "dense" || WeightFormat.Parse(weights).GroupSize == 0;

    private void AssertSame(string deviceName, string weights, Product product)
    {
        float[] expected = Run(Open(deviceName, Simple), weights, product);
        Close.AssertSameBits(expected, Run(Open(deviceName, LanesWalked), weights, product));
        Assert.Equal(product.IsSpoilt, expected.Any(float.IsNaN));
        if (product.K is null) return;
        var apart = (CudaDevice)Open(deviceName, LanesApart);
        Close.AssertSameBits(expected, Run(apart, weights, product));
        using DeviceBuffer counters = apart.Wrap(apart.Workspace.Counters, DType.I32, CudaWorkspace.CounterCount);
        Assert.DoesNotContain(new DeviceSpan<int>(counters, 0, CudaWorkspace.CounterCount).ToArray(), count => count != 0);
    }

    private Device Open(string name, CudaDeviceOptions options)
    {
        if (!_devices.TryGetValue((name, options), out Device? device)) _devices.Add((name, options), device = Devices.OpenAlone(name, options));
        return device;
    }

    /// <summary>The product of random matrices, the same on every device. Around each, and behind their rows, are NaNs; those around the result stay.</summary>
    private static float[] Run(Device device, string weights, Product product)
    {
        using var memory = new Memory(device);
        int k = product.K ?? (weights == "dense" ? 40 * product.Groups + 1 : QuantizedMatrices.Length(WeightFormat.Parse(weights), product.Groups));
        (DType type, DType resultType) = (product.Type, product.FloatResult ? DType.F32 : product.Type);
        (DeviceMatrix x, _) = memory.Random(new Random(1), type, product.Rows, k, product.XGap);
        if (product.IsSpoilt) Memory.Set(x, 2, k - 1, float.NaN);
        if (product.IsSpoilt) Memory.Set(x, product.Rows - 1, 0, float.PositiveInfinity);
        DeviceMatrix bias = product.HasBias ? memory.Random(new Random(2), type, 1, product.Outputs).Matrix : default;
        using var result = new GuardedMatrix(device, resultType, product.Rows, product.Columns, product.ResultGap);
        DeviceMatrix residual = product.HasResidual ? result.Matrix : default;
        if (product.HasResidual) result.Set(Memory.Flat(memory.Random(new Random(3), resultType, product.Rows, product.Columns).Matrix));
        if (weights == "dense")
        {
            (DeviceMatrix dense, _) = memory.Random(new Random(4), type, product.Outputs, k, product.XGap);
            device.Operators.MatMul(x, dense, result, bias, residual);
        }
        else
        {
            using PackedWeights packed = Pack(device, WeightFormat.Parse(weights), product, k);
            device.Operators.MatMulPacked(x, packed, result, bias, residual);
        }
        result.AssertUntouchedAround();
        return result.Get();
    }

    private static PackedWeights Pack(Device device, WeightFormat format, Product product, int k)
    {
        if (!product.IsGated) return QuantizedMatrices.Pack(device, QuantizedMatrices.Random(format, product.Outputs, k, seed: 5));
        int half = product.Outputs / 2;
        return QuantizedMatrices.PackGated(
            device, QuantizedMatrices.Random(format, half, k, seed: 5), QuantizedMatrices.Random(format, half, k, seed: 6));
    }

    /// <summary>A product to compute, with a NaN and an infinity in x where it is spoilt; k is given, enough for several lanes, or so many groups of the format.</summary>
    private sealed record Product(
        int Rows, int Outputs, int Groups = 1, int? K = null, bool HasBias = false, bool HasResidual = false, bool IsGated = false, bool IsSpoilt = false,
        bool FloatResult = false, int XGap = 0, int ResultGap = 0, DType Type = DType.F16)
    {
        public int Columns => IsGated ? Outputs / 2 : Outputs;
    }
}
