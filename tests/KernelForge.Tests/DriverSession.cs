using System.Runtime.CompilerServices;
using System.Text;

namespace KernelForge.Tests;

/// <summary>
/// One device of a driver, called without anything between: buffers are addresses, a failed call is a <see cref="CUresult"/>. Disposing gives the context back, and with it
/// whatever a faulty kernel left behind.
/// </summary>
internal sealed unsafe class DriverSession : IDisposable
{
    private readonly int _device;
    private readonly Dictionary<string, nint> _modules = [];

    /// <summary>Opens a device.</summary>
    public DriverSession(ICudaDriver driver, int ordinal)
    {
        Driver = driver;
        int device;
        nint context;
        Check(driver.Init(0));
        Check(driver.DeviceGet(&device, ordinal));
        Check(driver.DevicePrimaryCtxRetain(&context, device));
        Check(driver.CtxSetCurrent(context));
        _device = device;
    }

    public ICudaDriver Driver { get; }

    /// <summary>9 of compute capability 9.0.</summary>
    public int CapabilityMajor => Attribute(CudaDeviceAttribute.ComputeCapabilityMajor);

    /// <summary>As "sm_90".</summary>
    public string Architecture => $"sm_{CapabilityMajor}{Attribute(CudaDeviceAttribute.ComputeCapabilityMinor)}";

    /// <summary>A kernel of native/tests, by the name of its file.</summary>
    public nint Kernel(string file, string name)
    {
        if (!_modules.TryGetValue(file, out nint module))
            _modules.Add(file, module = Load(TestKernels.Read(file, CapabilityMajor == 9 ? "sm_90a" : "sm_80")));
        nint function;
        fixed (byte* text = Encoding.ASCII.GetBytes(name + '\0'))
            Check(Driver.ModuleGetFunction(&function, module, text));
        return function;
    }

    /// <summary>Memory without values.</summary>
    public nint Allocate(int bytes)
    {
        nint address;
        Check(Driver.MemAlloc(&address, (nuint)bytes));
        return address;
    }

    /// <summary>Memory with these values.</summary>
    public nint Upload<T>(ReadOnlySpan<T> values)
        where T : unmanaged
    {
        nint address = Allocate(values.Length * sizeof(T));
        fixed (T* source = values) Check(Driver.MemcpyHtoDAsync(address, source, (nuint)(values.Length * sizeof(T)), 0));
        Check(Driver.StreamSynchronize(0));
        return address;
    }

    /// <summary>Reads memory, after everything before it; the result says whether it could.</summary>
    public CUresult TryDownload<T>(nint address, Span<T> values, nint stream = 0)
        where T : unmanaged
    {
        fixed (T* destination = values)
        {
            CUresult result = Driver.MemcpyDtoHAsync(destination, address, (nuint)(values.Length * sizeof(T)), stream);
            return result == CUresult.Success ? Driver.StreamSynchronize(stream) : result;
        }
    }

    /// <summary>Reads memory, after everything before it.</summary>
    public T[] Download<T>(nint address, int count)
        where T : unmanaged
    {
        var values = new T[count];
        Check(TryDownload<T>(address, values));
        return values;
    }

    /// <summary>Puts a launch into a stream.</summary>
    public CUresult Launch<TArgs>(nint kernel, int blocks, int threads, TArgs args, int dynamicSharedBytes = 0, nint stream = 0)
        where TArgs : unmanaged
    {
        void* parameter = &args;
        return Driver.LaunchKernel(kernel, (uint)blocks, 1, 1, (uint)threads, 1, 1, (uint)dynamicSharedBytes, stream, &parameter);
    }

    /// <summary>Fails the test when a call failed.</summary>
    public void Check(CUresult result, [CallerArgumentExpression(nameof(result))] string call = "") =>
        Assert.True(result == CUresult.Success, $"{call} gives {result}. {Driver.FaultReport}");

    public void Dispose() => _ = Driver.DevicePrimaryCtxRelease(_device);

    private int Attribute(CudaDeviceAttribute attribute)
    {
        int value;
        Check(Driver.DeviceGetAttribute(&value, attribute, _device));
        return value;
    }

    private nint Load(byte[] ptx)
    {
        byte[] log = new byte[4096];
        nint module;
        fixed (byte* image = ptx, errors = log)
        {
            CUresult result = Driver.ModuleLoadData(&module, image, (nuint)ptx.Length, errors, log.Length);
            Assert.True(result == CUresult.Success, $"module gives {result}: {Encoding.UTF8.GetString(log).TrimEnd('\0')}");
        }
        return module;
    }
}
