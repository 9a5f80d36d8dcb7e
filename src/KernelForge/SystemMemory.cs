using System.Runtime.InteropServices;

namespace KernelForge;

/// <summary>What the operating system is told about mapped files: hints, which change what counts as memory of a process, never contents.</summary>
internal static unsafe partial class SystemMemory
{
    private const int AdviseDontNeed = 4; // MADV_DONTNEED

    /// <summary>Pages of a read-only mapping that lie wholly in the range are not needed soon. Nothing happens on systems other than Linux.</summary>
    public static void Release(nint address, long bytes)
    {
        int page = Environment.SystemPageSize;
        nint start = (address + page - 1) / page * page, end = (nint)(address + bytes) / page * page;
        if (OperatingSystem.IsLinux() && end > start) _ = Advise((void*)start, (nuint)(end - start), AdviseDontNeed);
    }

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(void* address, nuint bytes, int advice);
}
