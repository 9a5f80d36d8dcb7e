using System.Collections.Concurrent;
using System.Text;
using KernelForge.Cuda;

namespace KernelForge;

/// <summary>Code on a device: kernels and variables by name. Safe for several threads.</summary>
public sealed unsafe class CudaModule : CudaResource
{
    private readonly ConcurrentDictionary<string, CudaKernel> _kernels = new(StringComparer.Ordinal);

    internal CudaModule(CudaDevice device, string name, nint handle) : base(device, handle) => Name = name;

    /// <summary>Where it came from, for people.</summary>
    public string Name { get; }

    /// <summary>A kernel by the name it has in the PTX.</summary>
    /// <exception cref="CudaException">There is none of that name.</exception>
    public CudaKernel GetKernel(string name) => _kernels.TryGetValue(name, out CudaKernel? kernel) ? kernel : _kernels.GetOrAdd(name, FindKernel(name));

    /// <summary>Address and bytes of a variable of the module.</summary>
    /// <exception cref="CudaException">There is none of that name.</exception>
    public (nint Address, long Bytes) GetVariable(string name)
    {
        using CurrentContext context = Device.Enter();
        nint address;
        nuint bytes;
        fixed (byte* text = Encoding.UTF8.GetBytes(name + '\0'))
            Device.Verify(Device.Driver.ModuleGetGlobal(&address, &bytes, Handle, text), "cuModuleGetGlobal", $"variable '{name}' of {Name}");
        return (address, (long)bytes);
    }

    private protected override void Release(ICudaDriver driver, nint handle) => driver.ModuleUnload(handle);

    private CudaKernel FindKernel(string name)
    {
        using CurrentContext context = Device.Enter();
        nint function;
        fixed (byte* text = Encoding.UTF8.GetBytes(name + '\0'))
            Device.Verify(Device.Driver.ModuleGetFunction(&function, Handle, text), "cuModuleGetFunction", $"kernel '{name}' of {Name}");
        return new CudaKernel(this, name, function);
    }
}
