using System.Runtime.InteropServices;
using System.Text;

namespace KernelForge;

public sealed unsafe partial class CudaDevice
{
    /// <summary>Throws unless the call worked.</summary>
    /// <param name="result">What it returned.</param>
    /// <param name="call">Its name.</param>
    /// <param name="what">What it was about, for the message.</param>
    internal void Verify(CUresult result, string call, string? what = null)
    {
        if (result != CUresult.Success) throw Failure(result, call, what);
    }

    /// <summary>The exception for a failed call. A fault of a kernel comes with the last launches and what the driver reports of it.</summary>
    internal CudaException Failure(CUresult result, string call, string? what)
    {
        StringBuilder text = new($"{call} failed on device {Ordinal}: {NameOf(Driver, result)}");
        if (what is not null) text.Append(": ").Append(what);
        if (IsFault(result))
        {
            string launches = Launches.ToString();
            if (launches.Length > 0) text.Append("\nA kernel failed, and the context with it. The last launches, the latest first:").Append(launches);
            if (Driver.FaultReport is { } report) text.Append('\n').Append(report);
        }
        return new CudaException(result, call, text.ToString());
    }

    /// <summary>CUDA_ERROR_OUT_OF_MEMORY (2), out of memory.</summary>
    private static string NameOf(ICudaDriver driver, CUresult result)
    {
        byte* name = null, text = null;
        string known = driver.GetErrorName(result, &name) == CUresult.Success && name is not null ? TextOf(name) : $"CUresult.{result}";
        string meaning = driver.GetErrorString(result, &text) == CUresult.Success && text is not null ? ", " + TextOf(text) : "";
        return $"{known} ({(int)result}){meaning}";
    }

    private static string TextOf(byte* text) => Encoding.UTF8.GetString(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(text));

    /// <summary>Whether the result is a fault of a kernel that ran, and so may belong to any earlier launch.</summary>
    private static bool IsFault(CUresult result) => result is CUresult.IllegalAddress or CUresult.LaunchTimeout or CUresult.Assert
        or (>= CUresult.HardwareStackError and <= CUresult.LaunchFailed) or CUresult.Unknown;
}
