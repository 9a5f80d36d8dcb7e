namespace KernelForge.Tests.Cuda;

/// <summary>Which products a device hands to another library, and what it says of them.</summary>
public class DenseMatMulTests
{
    [DeviceTheory, InlineData("emulated-sm80")]
    public void Library_TakesWhatItCanWriteInOneStep(string deviceName)
    {
        _ = deviceName;
        using CudaDevice device = Open(out Library library);
        using var memory = new Memory(device);
        DeviceMatrix x = memory.Filled(DType.F16, 3, 16, fill: 1), weights = memory.Filled(DType.F16, 8, 16, fill: 2);
        DeviceMatrix bias = memory.Filled(DType.F16, 1, 8, fill: 5), result = memory.Filled(DType.F16, 3, 8, fill: 0), residual = memory.Filled(DType.F16, 3, 8, fill: 7);
        Operators operators = device.Operators;

        operators.MatMul(x, weights, result);
        operators.MatMul(x, weights, result, residual: result);
        Assert.Equal(["F16[3, 16] F16[8, 16] F16[3, 8] False", "F16[3, 16] F16[8, 16] F16[3, 8] True"], library.Calls);
        Assert.Equal(0, Memory.Read(result)[2, 7]); // nothing but the library writes

        operators.MatMul(x, weights, result, bias);
        Assert.Equal(37, Memory.Read(result)[2, 7]);
        operators.MatMul(x, weights, result, residual: residual);
        Assert.Equal(39, Memory.Read(result)[2, 7]);
        operators.MatMul(x.SliceColumns(0, 0), weights.SliceColumns(0, 0), result);
        Assert.Equal(0, Memory.Read(result)[2, 7]);
        Assert.Equal(2, library.Calls.Count);
    }

    [DeviceTheory, InlineData("emulated-sm80")]
    public void Library_IsSaidNotToBeInvariant_AndFreedWithTheDevice(string deviceName)
    {
        using (Device plain = Devices.OpenAlone(deviceName)) Assert.True(plain.Operators.IsBatchInvariant);
        Library library;
        using (CudaDevice device = Open(out library)) Assert.False(device.Operators.IsBatchInvariant);
        Assert.Equal(1, library.Disposed);
    }

    private static CudaDevice Open(out Library library)
    {
        Library made = library = new Library();
        return Device.OpenCuda(0, new CudaDeviceOptions { DriverLibrary = Emulator.Path, DenseMatMul = _ => made });
    }

    private sealed class Library : IDenseMatMul
    {
        public List<string> Calls { get; } = [];

        public int Disposed { get; private set; }

        public string Name => "recording";

        public void MatMul(in DeviceMatrix x, in DeviceMatrix weights, in DeviceMatrix result, bool adds) => Calls.Add($"{x} {weights} {result} {adds}");

        public void Dispose() => Disposed++;
    }
}
