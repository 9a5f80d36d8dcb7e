using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using KernelForge.Cpu;

namespace KernelForge.Bench;

/// <summary>
/// What the native library's dot products reach with operands that stay in the caches: for x in BF16 and in 8-bit whole numbers, for which .NET has no
/// instructions of full width to measure with.
/// </summary>
internal sealed unsafe class NativeDots : IDisposable
{
    private const int Calls = 100, Rows = 32, Panels = 4, K = 1024, LineBytes = 64, Lanes = 16, Block = 128;
    private const nuint XRowBytes = 2 * K, PanelBytes = 2 * K * Lanes, SumsStride = Panels * Lanes; // what two bytes for each element come to

    private readonly ActivationPrecision _precision;
    private readonly byte*[] _memory; // of each thread: x, panels, scales, sums

    public NativeDots(ActivationPrecision precision, int threads)
    {
        _precision = precision;
        _memory = new byte*[threads];
        for (int part = 0; part < threads; part++)
        {
            _memory[part] = (byte*)NativeMemory.AlignedAlloc(ThreadBytes, LineBytes);
            NativeMemory.Clear(_memory[part], ThreadBytes);
        }
    }

    /// <summary>Precisions that the library has products for on this machine.</summary>
    public static IEnumerable<ActivationPrecision> Available
    {
        get
        {
            List<ActivationPrecision> available = [];
            if (CpuLibrary.OfProcess is { } library && library.Bf16Panels != null) available.Add(ActivationPrecision.BF16);
            if (CpuLibrary.OfProcess is { } other && other.Int8Panels != null) available.Add(ActivationPrecision.Int8);
            return available;
        }
    }

    /// <summary>Of one thread in one run.</summary>
    public static double Flops => 2.0 * Calls * Rows * Panels * Lanes * K;

    public Work Products => new(this);

    private static nuint ScalesOffset => Rows * XRowBytes + Panels * PanelBytes;

    private static nuint SumsOffset => ScalesOffset + K / Block * Block * sizeof(float);

    private static nuint ThreadBytes => SumsOffset + Rows * SumsStride * sizeof(float);

    public void Dispose()
    {
        foreach (byte* memory in _memory) NativeMemory.AlignedFree(memory);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private void Run(int part)
    {
        byte* x = _memory[part], panels = x + Rows * XRowBytes;
        var bf16 = new NativeBf16Args
        {
            X = x, Panels = panels, Sums = (float*)(x + SumsOffset),
            XRowBytes = (long)XRowBytes, PanelStride = (long)PanelBytes, SumsStride = (long)SumsStride,
            KWords = K / 2, Rows = Rows, PanelCount = Panels,
        };
        var int8 = new NativeInt8Args
        {
            X = x, Codes = panels, Scales = (float*)(x + ScalesOffset), Sums = (float*)(x + SumsOffset),
            XRowBytes = (long)XRowBytes, SumsStride = (long)SumsStride,
            Bits = 8, Blocks = K / Block, GroupLength = Block, ScaleGroupStride = Block, Rows = Rows, PanelCount = Panels,
        };
        CpuLibrary library = CpuLibrary.OfProcess!;
        for (int call = 0; call < Calls; call++)
        {
            if (_precision == ActivationPrecision.BF16) library.Bf16Panels(&bf16);
            else library.Int8Panels(&int8);
        }
    }

    /// <summary>Products on each thread, with operands of its own.</summary>
    public readonly struct Work(NativeDots dots) : IParallelWork
    {
        public void Run(int part, int parts) => dots.Run(part);
    }
}
