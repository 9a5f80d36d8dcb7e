using System.Runtime.InteropServices;

namespace KernelForge.Tests.Cuda;

/// <summary>Tensor maps as a device makes them.</summary>
public sealed class CudaTensorMapTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    [DeviceTheory, InlineData("emulated-sm90")]
    public void EncodeTensorMap_IsTheMapOfTheDriver(string deviceName)
    {
        var device = (CudaDevice)devices.Open(deviceName);
        using DeviceBuffer memory = device.Allocate(DType.F32, 64 * 32);

        CudaTensorMap map = device.EncodeTensorMap(memory.Address, DType.F32, [64, 32], [256], [32, 8], CudaTensorSwizzle.Bytes128);

        Assert.True(MemoryMarshal.AsBytes([map]).IndexOfAnyExcept((byte)0) >= 0);
    }

    [DeviceTheory, InlineData("emulated-sm90")]
    public void EncodeTensorMap_BadArguments_SayWhatIsWrong(string deviceName)
    {
        var device = (CudaDevice)devices.Open(deviceName);
        using DeviceBuffer memory = device.Allocate(DType.F32, 64 * 32);
        nint address = memory.Address;

        Assert.Contains("0 sizes", Assert.Throws<ArgumentException>(() => device.EncodeTensorMap(address, DType.F32, [], [], [], default)).Message, StringComparison.Ordinal);
        Assert.Contains("2 strides", Assert.Throws<ArgumentException>(() => device.EncodeTensorMap(address, DType.F32, [64, 32], [256, 1], [32, 8], default)).Message, StringComparison.Ordinal);
        Assert.Contains("I8", Assert.Throws<ArgumentException>(() => device.EncodeTensorMap(address, DType.I8, [64, 32], [64], [32, 8], default)).Message, StringComparison.Ordinal);
        CudaException refused = Assert.Throws<CudaException>(() => device.EncodeTensorMap(address + 4, DType.F32, [64, 32], [256], [32, 8], CudaTensorSwizzle.Bytes128));
        Assert.Contains("cuTensorMapEncodeTiled", refused.Message, StringComparison.Ordinal);
        Assert.Contains("F32 [64, 32], strides [256], box [32, 8], Bytes128", refused.Message, StringComparison.Ordinal);
    }

    [DeviceTheory, InlineData("emulated-sm80")]
    public void EncodeTensorMap_OnAnOlderDevice_Throws(string deviceName)
    {
        var device = (CudaDevice)devices.Open(deviceName);
        using DeviceBuffer memory = device.Allocate(DType.F32, 64 * 32);
        nint address = memory.Address;

        Assert.Equal(CUresult.NotSupported, Assert.Throws<CudaException>(() => device.EncodeTensorMap(address, DType.F32, [64, 32], [256], [32, 8], default)).Result);
    }
}
