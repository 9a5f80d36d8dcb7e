using BenchmarkDotNet.Attributes;

namespace KernelForge.Bench;

/// <summary>
/// An operator on the first CUDA device, in device time. The baseline copies as many bytes within the device as the operator has to move: a ratio of 1 is a
/// kernel that runs at the speed of memory.
/// </summary>
public abstract class CudaOperatorBench : OperatorBench
{
    private const int LargestCopy = 1 << 30;

    private DeviceSpan<sbyte> _source, _destination;

    internal override Ceiling Ceiling => CudaCeilings.Current;

    private CudaDevice Cuda => (CudaDevice)Device;

    /// <summary>Reads half of the bytes, writes the other half.</summary>
    [Benchmark(Baseline = true)]
    public void DeviceCopy() => Cuda.Stream.Copy(_source, _destination);

    protected override Device OpenDevice()
    {
        CudaDevice device = Device.OpenCuda();
        CudaCeilings.Measure(device);
        int bytes = (int)Math.Min(LargestCopy, Math.Max(1, Bytes / 2));
        _source = Room(device, bytes);
        _destination = Room(device, bytes);
        BenchClock.Instance.Follow(device);
        return device;
    }

    protected override void CloseDevice()
    {
        BenchClock.Instance.Release();
        Device.Dispose(); // with the two rooms
    }

    private static DeviceSpan<sbyte> Room(CudaDevice device, int bytes)
    {
        DeviceSpan<sbyte> room = device.Allocate(DType.I8, bytes).AsSpan<sbyte>();
        device.Stream.Clear(room);
        return room;
    }
}
