using KernelForge.Cuda;

namespace KernelForge.Tests;

/// <summary>
/// Products by warpgroups on compute capability 9.0 against the readable kernels on the same bits. <see cref="MatMulTests"/> and <see cref="MatMulPackedTests"/>
/// hold both to the definition.
/// </summary>
public sealed class WideMatMulWgmmaTests(PrivateEmulator emulator) : IClassFixture<PrivateEmulator>
{
    private const string Kernel = "wide_matmul_wgmma";

    public static TheoryData<string, string> FormatNames => Tests.Cases.Of(["emulated-sm90"], QuantizedMatrices.FormatNames);

    public static TheoryData<string, string> SomeWeights => Tests.Cases.Of(["emulated-sm90"], (string[])["dense", "w4g128", "w4g32-asym", "w8g64", "w8"]);

    /// <summary>Two tiles of outputs and of rows, none full; k ends within a block; bias, and a residual that is the result.</summary>
    [DeviceTheory, MemberData(nameof(FormatNames))]
    public void MatMul_EveryFormat_HasTheBitsOfTheDefinition(string deviceName, string formatName)
    {
        _ = deviceName;
        int k = KOf(formatName, 330);
        AssertSameBits(new Product(formatName, 150, 135, k, DType.F16, DType.F16) { HasBias = true, HasResidual = true });
        AssertSameBits(new Product(formatName, 65, 24, k, DType.BF16, DType.F32) { IsGated = true, HasBias = true, HasResidual = true });
        AssertSameBits(new Product(formatName, 70, 144, k, DType.BF16, DType.BF16) { IsGated = true, HasOrder = true });
    }

    [DeviceTheory]
    [InlineData("emulated-sm90", DType.F16, DType.F16, 200)]
    [InlineData("emulated-sm90", DType.BF16, DType.BF16, 64)]
    [InlineData("emulated-sm90", DType.F16, DType.F32, 5)]
    [InlineData("emulated-sm90", DType.BF16, DType.F32, 456)]
    public void MatMul_DenseWeights_HasTheBitsOfTheDefinition(string deviceName, DType type, DType resultType, int k)
    {
        _ = deviceName;
        AssertSameBits(new Product("dense", 150, 135, k, type, resultType) { HasBias = true, HasResidual = true });
    }

    /// <summary>Around a tile of 128 rows, and fewer than this kernel is for.</summary>
    [DeviceTheory, MemberData(nameof(SomeWeights))]
    public void MatMul_AnyNumberOfRows_HasTheBitsOfTheDefinition(string deviceName, string weights)
    {
        _ = deviceName;
        const int most = 257, n = 33;
        var product = new Product(weights, most, n, KOf(weights, 160), DType.BF16, DType.BF16);
        float[] expected = Compute(product, MatMulPath.Simple);
        foreach (int rows in (int[])[1, 2, 7, 8, 16, 31, 63, 64, 65, 100, 128, 129, 200, most])
            Close.AssertSameBits(expected.AsSpan(0, rows * n), Compute(product with { Rows = rows }, MatMulPath.Warpgroups));
    }

    /// <summary>1, 2, 4 and 8 lanes of k, the last one shorter, walked by one block and by a block each; the ring of stages turns several times.</summary>
    [DeviceTheory, MemberData(nameof(SomeWeights))]
    public void MatMul_LanesOfK_AreAddedInOrder(string deviceName, string weights)
    {
        _ = deviceName;
        foreach (int k in (int[])[1000, 1216, 2240, 4224])
        {
            var product = new Product(weights, 66, 20, KOf(weights, k), DType.F16, DType.F16);
            float[] expected = Compute(product, MatMulPath.Simple);
            Close.AssertSameBits(expected, Compute(product, MatMulPath.Warpgroups, lanesApart: false));
            Close.AssertSameBits(expected, Compute(product, MatMulPath.Warpgroups, lanesApart: true));
        }
    }

    /// <summary>Several tiles, none full, whose lanes come in any order; each launch finds the counters as the first one did.</summary>
    [DeviceTheory, MemberData(nameof(SomeWeights))]
    public void MatMul_LanesApart_LeaveNothingBehind(string deviceName, string weights)
    {
        _ = deviceName;
        var product = new Product(weights, 150, 140, KOf(weights, 1040), DType.BF16, DType.F32) { HasBias = true, HasResidual = true };
        float[] expected = Compute(product, MatMulPath.Simple);
        using CudaDevice device = Open(MatMulPath.Warpgroups, lanesApart: true);
        for (int launch = 0; launch < 3; launch++) Close.AssertSameBits(expected, product.Compute(device));
    }

    /// <summary>More tiles of rows than are walked before the next tile of outputs.</summary>
    [DeviceTheory, MemberData(nameof(SomeWeights))]
    public void MatMul_ManyTiles_AreEachComputedOnce(string deviceName, string weights)
    {
        _ = deviceName;
        AssertSameBits(new Product(weights, 1100, 140, KOf(weights, 64), DType.BF16, DType.F32));
    }

    [DeviceTheory, MemberData(nameof(SomeWeights))]
    public void MatMul_LanesOneByOne_GiveTheSameBits(string deviceName, string weights)
    {
        _ = deviceName;
        emulator.Set("single_lanes", "1");
        try
        {
            AssertSameBits(new Product(weights, 129, 24, KOf(weights, 200), DType.BF16, DType.BF16) { HasBias = true });
        }
        finally
        {
            emulator.Set("single_lanes", "0");
        }
    }

    /// <summary>Rows that do not start at multiples of 16 bytes are no tensor map; the result's may start anywhere.</summary>
    [DeviceTheory, MemberData(nameof(SomeWeights))]
    public void MatMul_RowsAtAnyAddress_AreLeftToMmaSync(string deviceName, string weights)
    {
        _ = deviceName;
        var product = new Product(weights, 70, 24, KOf(weights, 64), DType.F16, DType.F16) { HasResidual = true };
        Assert.DoesNotContain(Kernel, LaunchesOf(product with { Gap = 3 }), StringComparison.Ordinal);
        Assert.Contains(Kernel, LaunchesOf(product with { ResultGap = 3 }), StringComparison.Ordinal);
        AssertSameBits(product with { ResultGap = 3 });
    }

    [DeviceTheory, MemberData(nameof(SomeWeights))]
    public void MatMul_NanAndInfinity_StayInTheirRows(string deviceName, string weights)
    {
        _ = deviceName;
        const int n = 24, rows = 130;
        var product = new Product(weights, rows, n, KOf(weights, 192), DType.F16, DType.F16);
        float[] clean = Compute(product, MatMulPath.Warpgroups), dirty = Compute(product with { HasNanInRow = 77 }, MatMulPath.Warpgroups);
        for (int row = 0; row < rows; row++)
        {
            if (row == 77) Assert.All(dirty[(row * n)..((row + 1) * n)], value => Assert.True(float.IsNaN(value)));
            else Close.AssertSameBits(clean.AsSpan(row * n, n), dirty.AsSpan(row * n, n));
        }
    }

    /// <summary>A tile of 128 x 128 brings its x and its weights once: 256 k bytes and 64 k (4 bits), 128 k (8 bits) or 256 k, and scales.</summary>
    [DeviceTheory]
    [InlineData("emulated-sm90", "dense", 2 * 128 * 384)]
    [InlineData("emulated-sm90", "w4g64-asym", 384 / 64 * (128 * 32 + 128 * 4 + 128))]
    [InlineData("emulated-sm90", "w8g128", 384 / 128 * (128 * 128 + 128 * 4))]
    public void MatMul_Tile_BringsOperandsOnce(string deviceName, string weights, int tileBytes)
    {
        _ = deviceName;
        const int k = 384, rowTiles = 2;
        using CudaDevice device = Open(MatMulPath.Warpgroups, lanesApart: false);
        using var memory = new Memory(device);
        (DeviceMatrix x, _) = memory.Random(new Random(1), DType.F16, rowTiles * 128, k);
        DeviceMatrix result = memory.Filled(DType.F16, rowTiles * 128, 128, 0), dense = memory.Random(new Random(2), DType.F16, 128, k).Matrix;
        using PackedWeights? packed = weights == "dense" ? null : QuantizedMatrices.Pack(device, QuantizedMatrices.Random(WeightFormat.Parse(weights), 128, k, seed: 3));
        emulator.Set("count", "1");
        emulator.ResetCounters();

        if (packed is null) device.Operators.MatMul(x, dense, result);
        else device.Operators.MatMulPacked(x, packed, result);

        device.Synchronize();
        KernelCounters counters = emulator.Counters[$"{Kernel}_f16_{(packed is null ? weights : weights[..2])}"];
        emulator.Set("count", "0");
        Assert.Equal(rowTiles * 128 * k * 2, BytesRead(x.Address));
        Assert.Equal(rowTiles * tileBytes, BytesRead(packed?.Buffer.Address ?? dense.Address));

        long BytesRead(nint address) => counters.Buffers.Single(b => b.Address <= address && address < b.Address + b.Bytes).BytesRead;
    }

    [DeviceTheory]
    [InlineData("emulated-sm90")]
    public void MatMul_SteadyState_AllocatesNothing(string deviceName)
    {
        _ = deviceName;
        using CudaDevice device = Open(MatMulPath.Auto);
        using var memory = new Memory(device);
        DeviceMatrix x = memory.Filled(DType.F16, 65, 64, 1), dense = memory.Filled(DType.F16, 8, 64, 1), result = memory.Filled(DType.F16, 65, 8, 1);
        using PackedWeights packed = QuantizedMatrices.Pack(device, QuantizedMatrices.Random(WeightFormat.Parse("w4g64"), 8, 64, seed: 1));
        Garbage.AssertNone(() => device.Operators.MatMul(x, dense, result));
        Garbage.AssertNone(() => device.Operators.MatMulPacked(x, packed, result));
        Assert.Contains(Kernel, device.Launches.ToString(), StringComparison.Ordinal);
    }

    private static int KOf(string weights, int k) =>
        weights == "dense" ? k : WeightFormat.Parse(weights) is { GroupSize: > 0 and int size } ? (k + size - 1) / size * size : k;

    private void AssertSameBits(Product product) => Close.AssertSameBits(Compute(product, MatMulPath.Simple), Compute(product, MatMulPath.Warpgroups));

    private string LaunchesOf(Product product)
    {
        using CudaDevice device = Open(MatMulPath.Auto);
        product.Compute(device);
        return device.Launches.ToString();
    }

    private float[] Compute(Product product, MatMulPath path, bool? lanesApart = null)
    {
        using CudaDevice device = Open(path, lanesApart);
        float[] result = product.Compute(device);
        Assert.Equal(path == MatMulPath.Warpgroups, device.Launches.ToString().Contains(Kernel, StringComparison.Ordinal));
        return result;
    }

    private CudaDevice Open(MatMulPath path, bool? lanesApart = null) =>
        (CudaDevice)Device.OpenCuda(1, new CudaDeviceOptions { Driver = emulator.Driver, MatMulPath = path, WideLanesApart = lanesApart });

    /// <summary>A product with the same numbers on any device; Gap and ResultGap are elements behind the rows of x and of the result.</summary>
    private sealed record Product(string Weights, int Rows, int N, int K, DType Type, DType ResultType)
    {
        public bool IsGated { get; init; }

        public bool HasOrder { get; init; }

        public bool HasBias { get; init; }

        public bool HasResidual { get; init; }

        public int Gap { get; init; } = 8;

        public int ResultGap { get; init; } = 8;

        public int? HasNanInRow { get; init; }

        /// <summary>The product, with sentinels around the result, which also is the residual.</summary>
        public float[] Compute(Device device)
        {
            using var memory = new Memory(device);
            int multiple = IsGated ? 2 : 1, gapTo8 = (8 - K % 8) % 8;
            (DeviceMatrix x, _) = memory.Random(new Random(1), Type, Rows, K, gap: gapTo8 + Gap);
            if (HasNanInRow is int row) Memory.Set(x, row, K / 2, float.NaN);
            DeviceMatrix bias = HasBias ? memory.Random(new Random(2), Type, 1, multiple * N).Matrix : default;
            using var result = new GuardedMatrix(device, ResultType, Rows, N, ResultGap);
            if (HasResidual) result.Set(Memory.Flat(memory.Random(new Random(3), ResultType, Rows, N).Matrix));
            DeviceMatrix residual = HasResidual ? result.Matrix : default;
            if (Weights == "dense")
            {
                device.Operators.MatMul(x, memory.Random(new Random(4), Type, N, K, gap: gapTo8 + 8).Matrix, result, bias, residual);
            }
            else
            {
                using PackedWeights weights = Pack(device);
                device.Operators.MatMulPacked(x, weights, result, bias, residual);
            }
            result.AssertUntouchedAround();
            return result.Get();
        }

        private PackedWeights Pack(Device device)
        {
            WeightFormat format = WeightFormat.Parse(Weights);
            QuantizedMatrix Draw(int seed) => QuantizedMatrices.Random(format, N, K, seed, HasOrder);
            return IsGated ? QuantizedMatrices.PackGated(device, Draw(5), Draw(5)) : QuantizedMatrices.Pack(device, Draw(5));
        }
    }
}
