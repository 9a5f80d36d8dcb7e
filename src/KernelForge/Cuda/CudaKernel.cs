using KernelForge.Cuda;

namespace KernelForge;

/// <summary>A kernel of a <see cref="CudaModule"/>, which must outlive it. Safe for several threads; a launch allocates nothing.</summary>
public sealed unsafe class CudaKernel
{
    private readonly nint _function;
    private Type? _argumentType;
    private int _sharedLimit;

    internal CudaKernel(CudaModule module, string name, nint function)
    {
        Module = module;
        Name = name;
        _function = function;
        _sharedLimit = CudaDevice.PlainSharedBytes - GetAttribute(CudaFunctionAttribute.SharedSizeBytes);
    }

    /// <summary>Its name in the PTX.</summary>
    public string Name { get; }

    /// <summary>Where it comes from.</summary>
    public CudaModule Module { get; }

    /// <summary>The driver's handle, a CUfunction.</summary>
    public nint Handle => _function;

    private CudaDevice Device => Module.Device;

    /// <summary>
    /// Queues the kernel. Its one parameter is a struct by value with the fields of <typeparamref name="TArgs"/>, which must be laid out sequentially.
    /// </summary>
    /// <param name="grid">Blocks.</param>
    /// <param name="block">Threads of a block.</param>
    /// <param name="args">Copied before the call returns.</param>
    /// <param name="dynamicSharedBytes">Shared memory of a block besides the static one; above 48 KB the kernel is opted in.</param>
    /// <param name="stream">Where; null for the device's own stream, in order with its operators and copies.</param>
    /// <exception cref="ArgumentException">The kernel's parameter has another size, or the device has not that much shared memory.</exception>
    /// <exception cref="CudaException">The driver refuses the launch.</exception>
    public void Launch<TArgs>(Dim3 grid, Dim3 block, in TArgs args, int dynamicSharedBytes = 0, CudaStream? stream = null) where TArgs : unmanaged
    {
        using CurrentContext context = Device.Enter();
        ObjectDisposedException.ThrowIf(Module.IsDisposed, Module);
        if (_argumentType != typeof(TArgs)) CheckArguments<TArgs>();
        if (dynamicSharedBytes > _sharedLimit) OptIn(dynamicSharedBytes);
        Device.Launches.Add(this, grid, block, dynamicSharedBytes, args);
        CUresult result;
        fixed (TArgs* first = &args)
        {
            void* parameter = first;
            result = Device.Driver.LaunchKernel(
                _function, (uint)grid.X, (uint)grid.Y, (uint)grid.Z, (uint)block.X, (uint)block.Y, (uint)block.Z,
                (uint)dynamicSharedBytes, (stream ?? Device.Stream).Handle, &parameter);
        }
        if (result != CUresult.Success)
            throw Device.Failure(result, "cuLaunchKernel", LaunchLog.Describe(Name, grid, block, dynamicSharedBytes, args));
    }

    /// <summary>What the compiled kernel needs or allows.</summary>
    public int GetAttribute(CudaFunctionAttribute attribute)
    {
        using CurrentContext context = Device.Enter();
        int value;
        Device.Verify(Device.Driver.FuncGetAttribute(&value, attribute, _function), "cuFuncGetAttribute", Name);
        return value;
    }

    /// <summary>Blocks of this kernel that one multiprocessor runs at the same time.</summary>
    public int MaxBlocksPerMultiprocessor(int threads, int dynamicSharedBytes = 0)
    {
        using CurrentContext context = Device.Enter();
        if (dynamicSharedBytes > _sharedLimit) OptIn(dynamicSharedBytes);
        int blocks;
        Device.Verify(
            Device.Driver.OccupancyMaxActiveBlocksPerMultiprocessor(&blocks, _function, threads, (nuint)dynamicSharedBytes),
            "cuOccupancyMaxActiveBlocksPerMultiprocessor", Name);
        return blocks;
    }

    /// <inheritdoc/>
    public override string ToString() => Name;

    /// <summary>Compares the type with what the kernel declares, where the driver can tell, before anything runs.</summary>
    private void CheckArguments<TArgs>() where TArgs : unmanaged
    {
        nuint offset, bytes;
        CUresult result = Device.Driver.FuncGetParamInfo(_function, 0, &offset, &bytes);
        if (result == CUresult.Success)
        {
            Check.That(bytes == (nuint)sizeof(TArgs),
                $"{Name}: argument struct of the wrong size: {typeof(TArgs).Name} has {sizeof(TArgs)} bytes, the kernel expects {bytes}");
            Check.That(Device.Driver.FuncGetParamInfo(_function, 1, &offset, &bytes) != CUresult.Success,
                $"{Name}: the kernel has more than one parameter; a launch passes one struct, {typeof(TArgs).Name}");
        }
        else
        {
            Check.That(result == CUresult.NotSupported, $"{Name}: the kernel has no parameter; a launch passes one struct, {typeof(TArgs).Name}");
        }
        _argumentType = typeof(TArgs);
    }

    private void OptIn(int dynamicSharedBytes)
    {
        int fixedBytes = GetAttribute(CudaFunctionAttribute.SharedSizeBytes);
        int most = Device.GetAttribute(CudaDeviceAttribute.MaxSharedMemoryPerBlockOptin) - fixedBytes;
        Check.That(dynamicSharedBytes <= most,
            $"{Name}: {dynamicSharedBytes} bytes of dynamic shared memory asked; {Device.Name} has {most} besides the {fixedBytes} static ones");
        Device.Verify(
            Device.Driver.FuncSetAttribute(_function, CudaFunctionAttribute.MaxDynamicSharedSizeBytes, dynamicSharedBytes), "cuFuncSetAttribute", Name);
        _sharedLimit = dynamicSharedBytes;
    }
}
