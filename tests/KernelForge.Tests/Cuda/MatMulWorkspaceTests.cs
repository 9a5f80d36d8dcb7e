using KernelForge.Cuda;

namespace KernelForge.Tests;

/// <summary>Products whose lanes of k meet in the device's workspace: launched often, from a graph, on two devices at once.</summary>
public class MatMulWorkspaceTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private const int N = 70, K = 4096, Rows = 5; // eight lanes

    public static TheoryData<string> AllCuda => Devices.AllCuda;

    [DeviceTheory, MemberData(nameof(AllCuda))]
    public void MatMulPacked_LaunchedOftenAtOnce_GivesTheSameBits(string deviceName)
    {
        using var product = new Product(devices.Open(deviceName));
        float[] first = product.Multiply();
        for (int i = 0; i < 100; i++) Close.AssertSameBits(first, product.Multiply());
    }

    [DeviceTheory, MemberData(nameof(AllCuda))]
    public void MatMulPacked_FromAGraph_GivesTheSameBitsAtEveryLaunch(string deviceName)
    {
        var device = (CudaDevice)devices.Open(deviceName);
        using var product = new Product(device);
        float[] expected = product.Multiply();
        using CudaGraph graph = CudaGraph.Capture(device.Stream, product.Launch);
        float[][] results = [.. Enumerable.Range(0, 3).Select(_ =>
        {
            product.Clear();
            graph.Launch();
            return product.Read();
        })];

        Assert.All(results, result => Close.AssertSameBits(expected, result));
    }

    [DeviceTheory, MemberData(nameof(AllCuda))]
    public void MatMulPacked_TwoDevicesInTurn_DoNotMeet(string deviceName)
    {
        Device first = devices.Open(deviceName), second = devices.Open(deviceName, new CudaDeviceOptions { MatMulPath = MatMulPath.Narrow });
        using Product one = new(first), other = new(second);
        float[] expected = one.Multiply();
        for (int i = 0; i < 3; i++)
        {
            one.Clear();
            other.Clear();
            one.Launch();
            other.Launch();
            one.Launch();
            Close.AssertSameBits(expected, other.Read());
            Close.AssertSameBits(expected, one.Read());
        }
    }

    [DeviceTheory, MemberData(nameof(AllCuda))]
    public void Workspace_IsNoMemoryOfBuffers(string deviceName)
    {
        using var device = (CudaDevice)Devices.OpenAlone(deviceName);
        _ = device.Workspace;
        Assert.Equal(0, device.AllocatedBytes);
        Assert.Same(device.Workspace, device.Workspace);
    }

    private sealed class Product : IDisposable
    {
        private readonly Device _device;
        private readonly Memory _memory;
        private readonly PackedWeights _weights;
        private readonly DeviceMatrix _x, _result;

        public Product(Device device)
        {
            (_device, _memory) = (device, new Memory(device));
            _weights = QuantizedMatrices.Pack(device, QuantizedMatrices.Random(WeightFormat.W4Group128, N, K, seed: 1));
            Assert.Equal(K / 8, _weights.Header.LaneLength);
            (_x, _) = _memory.Random(new Random(2), DType.BF16, Rows, K);
            _result = _memory.Filled(DType.F32, Rows, N, float.NaN);
        }

        public void Launch() => _device.Operators.MatMulPacked(_x, _weights, _result);

        public void Clear() => _result.CopyFrom<float>(new float[Rows, N]);

        public float[] Read() => Memory.Flat(_result);

        public float[] Multiply()
        {
            Clear();
            Launch();
            return Read();
        }

        public void Dispose()
        {
            _weights.Dispose();
            _memory.Dispose();
        }
    }
}
