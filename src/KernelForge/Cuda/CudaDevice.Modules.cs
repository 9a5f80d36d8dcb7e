using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Text;
using KernelForge.Cuda;

namespace KernelForge;

/// <summary>Loading code: this library's kernels once per device, a user's own PTX as often as asked.</summary>
public sealed unsafe partial class CudaDevice
{
    private const int LogBytes = 16 * 1024;

    private readonly ConcurrentDictionary<string, Lazy<CudaModule>> _kernelModules = new(StringComparer.Ordinal);

    /// <summary>Loads PTX text or a cubin.</summary>
    /// <param name="image">The file's bytes.</param>
    /// <param name="name">For messages.</param>
    /// <exception cref="CudaException">The driver does not take it; the message carries its compiler's log and says what to do.</exception>
    public CudaModule LoadModule(ReadOnlySpan<byte> image, string name = "a module")
    {
        ReadOnlySpan<byte> text = KernelImages.EndInNul(image);
        byte[] log = new byte[LogBytes];
        using CurrentContext context = Enter();
        nint handle;
        fixed (byte* start = text, logStart = log)
        {
            CUresult result = Driver.ModuleLoadData(&handle, start, (nuint)text.Length, logStart, log.Length);
            if (result != CUresult.Success) throw Failure(result, "cuModuleLoadData", LoadFailureText(result, name, text, log));
        }
        return new CudaModule(this, name, handle);
    }

    /// <summary>Loads a file with PTX text or a cubin.</summary>
    /// <exception cref="CudaException">As the other overload.</exception>
    public CudaModule LoadModule(string path) => LoadModule(File.ReadAllBytes(path), path);

    /// <summary>This library's module of that name, loaded at the first call.</summary>
    internal CudaModule KernelModule(string name) =>
        _kernelModules.GetOrAdd(name, wanted => new Lazy<CudaModule>(() => LoadModule(_images.Find(wanted, out string source), source))).Value;

    private string LoadFailureText(CUresult result, string name, ReadOnlySpan<byte> image, ReadOnlySpan<byte> log)
    {
        (string version, string target) = (Directive(image, ".version"u8), Directive(image, ".target"u8));
        int end = log.IndexOf((byte)0);
        string said = Encoding.UTF8.GetString(end < 0 ? log : log[..end]).Trim();
        string advice = result switch
        {
            CUresult.UnsupportedPtxVersion => $"PTX {version} is newer than this driver; update the NVIDIA driver, or build the kernels with an older nvcc",
            CUresult.NoBinaryForGpu => $"the code is for {target}, which this device cannot run; build it for compute_80, or for this device",
            CUresult.JitCompilerNotFound => "the driver has no PTX compiler (libnvidia-ptxjitcompiler); install the whole driver",
            CUresult.InvalidPtx or CUresult.InvalidImage when target.StartsWith("sm_90a", StringComparison.Ordinal) && ComputeCapability != new Version(9, 0) =>
                "code for sm_90a runs on compute capability 9.0 only; load the sm_80 form",
            CUresult.InvalidPtx or CUresult.InvalidImage => "the file is damaged or no PTX for this device; build it anew with './build.sh kernels'",
            _ => "see the log",
        };
        return $"{name} (PTX {version}, target {target}) on compute capability {ComputeCapability}, driver of CUDA {VersionText(Driver.Version)}. " +
            $"What to do: {advice}. Log: {(said.Length == 0 ? "empty" : said)}";
    }

    /// <summary>The word after a directive of PTX text, as "8.4" after ".version", up to a blank or comma; "unknown" when there is none.</summary>
    private static string Directive(ReadOnlySpan<byte> image, ReadOnlySpan<byte> directive)
    {
        int start = image.IndexOf(directive);
        if (start < 0) return "unknown";
        ReadOnlySpan<byte> rest = image[(start + directive.Length)..].TrimStart(" \t"u8);
        int end = rest.IndexOfAnyInRange((byte)0, (byte)',');
        return Encoding.ASCII.GetString(end < 0 ? rest : rest[..end]);
    }
}
