using System.Runtime.InteropServices;

namespace KernelForge.Cpu;

/// <summary>Arguments of kf_bf16_panels; native/cpu/kernelforge_cpu.h says what they are.</summary>
internal unsafe struct NativeBf16Args
{
    public byte* X, Panels;
    public float* Sums;
    public long XRowBytes, PanelStride, SumsStride;
    public int KWords, Rows, PanelCount, Padding;
}

/// <summary>Arguments of kf_int8_panels.</summary>
internal unsafe struct NativeInt8Args
{
    public byte* X, Codes;
    public float* Scales;
    public byte* Zeros;
    public float* Sums;
    public long XRowBytes, SumsStride;
    public int Bits, Blocks, GroupLength, ScaleGroupStride, Rows, PanelCount;
}

/// <summary>
/// The native CPU library (native/cpu), which computes inner products for which .NET has no instructions. It is used where it is found: beside the assembly, among
/// the native files of the package, or where KERNELFORGE_CPU_LIBRARY says; "none" there means without one. The bits of results are the same with it and without.
/// </summary>
internal sealed unsafe class CpuLibrary
{
    private const string Variable = "KERNELFORGE_CPU_LIBRARY", None = "none";
    private const int Abi = 1;
    private const uint HasBf16 = 1, HasInt8 = 2;

    private static readonly Lazy<CpuLibrary?> Found = new(() => Find(Environment.GetEnvironmentVariable(Variable)));

    private CpuLibrary(nint handle)
    {
        uint features = ((delegate* unmanaged<uint>)NativeLibrary.GetExport(handle, "kf_cpu_features"))();
        if ((features & HasBf16) != 0) Bf16Panels = (delegate* unmanaged<NativeBf16Args*, void>)NativeLibrary.GetExport(handle, "kf_bf16_panels");
        if ((features & HasInt8) != 0) Int8Panels = (delegate* unmanaged<NativeInt8Args*, void>)NativeLibrary.GetExport(handle, "kf_int8_panels");
    }

    /// <summary>The library of this process; null where there is none, or where it helps nothing on this machine.</summary>
    /// <exception cref="InvalidOperationException">KERNELFORGE_CPU_LIBRARY names one that does not fit.</exception>
    public static CpuLibrary? OfProcess => Found.Value;

    /// <summary>Sums of BF16 rows with panels of BF16 weights; null where the machine cannot.</summary>
    public delegate* unmanaged<NativeBf16Args*, void> Bf16Panels { get; }

    /// <summary>Sums of rows in 8-bit whole numbers with panels of codes; null where the machine cannot.</summary>
    public delegate* unmanaged<NativeInt8Args*, void> Int8Panels { get; }

    /// <summary>What it computes: as in "BF16 and int8".</summary>
    public override string ToString() => Bf16Panels == null ? "int8" : Int8Panels == null ? "BF16" : "BF16 and int8";

    /// <summary>Loads a library.</summary>
    /// <param name="wanted">Its path; "none", or null for where it is by itself.</param>
    /// <exception cref="InvalidOperationException">The path names none that fits.</exception>
    internal static CpuLibrary? Find(string? wanted)
    {
        if (wanted == None) return null;
        bool isNamed = !string.IsNullOrEmpty(wanted);
        if (!(isNamed ? NativeLibrary.TryLoad(wanted!, out nint handle) : NativeLibrary.TryLoad("kernelforge_cpu", typeof(CpuLibrary).Assembly, null, out handle)))
            return isNamed ? throw new InvalidOperationException($"{Variable}: '{wanted}' is no library that loads here; expected the path of one, or {None}") : null;
        int abi = NativeLibrary.TryGetExport(handle, "kf_cpu_abi", out nint version) ? ((delegate* unmanaged<int>)version)() : 0;
        if (abi != Abi && isNamed) throw new InvalidOperationException($"{Variable}: '{wanted}' has interface {abi} (0: none), expected {Abi}: build it from the same sources");
        if (abi != Abi) return null;
        var library = new CpuLibrary(handle);
        return library.Bf16Panels == null && library.Int8Panels == null ? null : library;
    }
}
