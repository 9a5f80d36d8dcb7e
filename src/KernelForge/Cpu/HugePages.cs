using System.Runtime.InteropServices;

namespace KernelForge.Cpu;

/// <summary>
/// Pages of 2 MiB for large memory, where Linux gives them to who asks (transparent huge pages set to madvise, its standard). Weights are read once in a step,
/// page after page: with pages of 4 KiB the look-ups of their addresses cost a tenth of the bandwidth and more, and the first write to them four times as long.
/// </summary>
internal static unsafe partial class HugePages
{
    /// <summary>Bytes of a page.</summary>
    public const int Size = 2 << 20;

    /// <summary>Bytes from which on memory should start at a page.</summary>
    public const long Worthwhile = 2 * Size;

    private const int AdviseHugePages = 14; // MADV_HUGEPAGE

    /// <summary>
    /// Asks for such pages under memory that starts at one, as far as it fills them, or under a mapped file that the system caches in them. Nothing happens
    /// where the system does not have them.
    /// </summary>
    public static void Ask(nint address, long bytes)
    {
        if (OperatingSystem.IsLinux()) _ = Advise((void*)address, (nuint)(bytes / Size * Size), AdviseHugePages);
    }

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(void* address, nuint bytes, int advice);
}
