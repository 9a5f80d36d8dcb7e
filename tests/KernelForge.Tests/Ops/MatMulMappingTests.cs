using KernelForge.Cuda;

namespace KernelForge.Tests;

/// <summary>
/// A row of a product has the same bits whatever the number of rows, the kernel, its tile, and the blocks that sum the lanes of k. Every path is compared with the
/// readable kernels.
/// </summary>
public class MatMulMappingTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private const string Dense = "dense";
    private const int MostRows = 200;

    private static readonly CudaDeviceOptions Simple = new() { MatMulPath = MatMulPath.Simple };

    // Around one row, the tiles of 8, 16, 32, 64 and 128 rows, and several tiles.
    private static readonly int[] Rows = [1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 100, 128, 129, MostRows];

    public static TheoryData<string, string, DType> Cases =>
        Tests.Cases.Of<string, string, DType>(Devices.WideNames, [Dense, .. QuantizedMatrices.FormatNames], [DType.F16, DType.BF16]);

    public static TheoryData<string, string, int> Lanes =>
        Tests.Cases.Of<string, string, int>(Devices.WideNames, [Dense, "w4g128", "w4g32-asym", "w8", "w8g64"], [1, 2, 4, 8]);

    [DeviceTheory, MemberData(nameof(Cases))]
    public void MatMul_AnyNumberOfRows_HasTheBitsOfTheReadableKernel(string deviceName, string weights, DType type)
    {
        using var product = new Product(devices, weights, type, n: 72, k: LengthOf(weights, 280));
        foreach (int rows in Rows) product.AssertSameBits(devices.Open(deviceName), deviceName, firstRow: 0, rows);
        foreach (int row in (int[])[5, 64, MostRows - 1]) product.AssertSameBits(devices.Open(deviceName), deviceName, row, rows: 1);
    }

    [DeviceTheory, MemberData(nameof(Cases))]
    public void MatMul_ForcedTiles_HaveTheBitsOfTheReadableKernel(string deviceName, string weights, DType type)
    {
        using var product = new Product(devices, weights, type, n: 136, k: LengthOf(weights, 200));
        foreach (int tile in (int[])[16, 32, 64])
        {
            var options = new CudaDeviceOptions { MatMulPath = MatMulPath.Narrow, NarrowRows = tile };
            foreach (int rows in (int[])[1, 17, 64, 70]) product.AssertSameBits(devices.Open(deviceName, options), deviceName, 0, rows);
        }
    }

    [DeviceTheory, MemberData(nameof(Lanes))]
    public void MatMul_LanesOnSeveralBlocks_HaveTheBitsOfTheReadableKernel(string deviceName, string weights, int lanes)
    {
        const int n = 24;
        int k = lanes == 1 ? 384 : 512 * lanes;
        Assert.Equal(k / lanes, MatMulLanes.Length(n, k));
        using var product = new Product(devices, weights, lanes % 2 == 0 ? DType.F16 : DType.BF16, n, k);
        CudaDevice device = (CudaDevice)devices.Open(deviceName);
        foreach (int rows in (int[])[1, 9, 17, 33, 64])
        {
            product.AssertSameBits(device, deviceName, 0, rows);
            Assert.All(Counters(device), counter => Assert.Equal(0, counter));
        }
    }

    private static int LengthOf(string weights, int least)
    {
        int group = weights == Dense ? 0 : WeightFormat.Parse(weights).GroupSize;
        return group == 0 ? least + 1 : (least + group - 1) / group * group;
    }

    private static int[] Counters(CudaDevice device)
    {
        var counters = new int[CudaWorkspace.CounterCount];
        device.CopyToHost(device.Workspace.Counters, System.Runtime.InteropServices.MemoryMarshal.AsBytes(counters.AsSpan()));
        return counters;
    }

    /// <summary>Random x and weights on any device, and what the readable kernel of the device makes of them.</summary>
    private sealed class Product(OpenDevices devices, string weights, DType type, int n, int k) : IDisposable
    {
        private readonly float[,] _x = Values(1, MostRows, k), _dense = Values(2, weights == Dense ? n : 0, k), _bias = Values(3, 1, n);
        private readonly QuantizedMatrix? _quantized =
            weights == Dense ? null : QuantizedMatrices.Random(WeightFormat.Parse(weights), n, k, seed: 4);
        private readonly Dictionary<Device, Operands> _operands = [];
        private float[]? _expected;

        public void AssertSameBits(Device device, string deviceName, int firstRow, int rows)
        {
            _expected ??= On(devices.Open(deviceName, Simple)).Multiply(0, MostRows);
            float[] actual = On(device).Multiply(firstRow, rows);
            try
            {
                Close.AssertSameBits(_expected.AsSpan(firstRow * n, rows * n), actual);
            }
            catch (Xunit.Sdk.XunitException difference)
            {
                Assert.Fail($"{weights}, {rows} rows from {firstRow}: {difference.Message}");
            }
        }

        public void Dispose()
        {
            foreach (Operands operands in _operands.Values) operands.Dispose();
        }

        private Operands On(Device device)
        {
            if (!_operands.TryGetValue(device, out Operands? operands))
                _operands.Add(device, operands = new Operands(device, type, Padded(_x), Padded(_dense), _bias, _quantized, k));
            return operands;
        }

        /// <summary>Rows at multiples of 16 bytes, NaN behind k.</summary>
        private static float[,] Padded(float[,] values)
        {
            int rows = values.GetLength(0), columns = values.GetLength(1), stride = (columns + 7) / 8 * 8;
            var padded = new float[rows, stride];
            for (int row = 0; row < rows; row++)
                for (int column = 0; column < stride; column++) padded[row, column] = column < columns ? values[row, column] : float.NaN;
            return padded;
        }

        private static float[,] Values(int seed, int rows, int columns)
        {
            float[] flat = Numbers.Uniform(seed, rows * columns);
            var values = new float[rows, columns];
            Buffer.BlockCopy(flat, 0, values, 0, flat.Length * sizeof(float));
            return values;
        }
    }

    private sealed class Operands : IDisposable
    {
        private readonly Device _device;
        private readonly Memory _memory;
        private readonly DeviceMatrix _x, _dense, _bias;
        private readonly PackedWeights? _packed;
        private readonly int _n;

        public Operands(Device device, DType type, float[,] x, float[,] dense, float[,] bias, QuantizedMatrix? quantized, int k)
        {
            (_device, _memory, _n) = (device, new Memory(device), bias.GetLength(1));
            _x = _memory.Copy(x, type).SliceColumns(0, k);
            _bias = _memory.Copy(bias, type);
            if (quantized is null) _dense = _memory.Copy(dense, type).SliceColumns(0, k);
            else _packed = QuantizedMatrices.Pack(device, quantized);
        }

        /// <summary>Some rows of the product, in F32.</summary>
        public float[] Multiply(int firstRow, int rows)
        {
            using var result = new GuardedMatrix(_device, DType.F32, rows, _n, gap: 4);
            DeviceMatrix x = _x.SliceRows(firstRow, rows);
            if (_packed is null) _device.Operators.MatMul(x, _dense, result, _bias);
            else _device.Operators.MatMulPacked(x, _packed, result, _bias);
            result.AssertUntouchedAround();
            return result.Get();
        }

        public void Dispose()
        {
            _packed?.Dispose();
            _memory.Dispose();
        }
    }
}
