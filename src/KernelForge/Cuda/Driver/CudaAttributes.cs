namespace KernelForge;

/// <summary>What <see cref="ICudaDriver.DeviceGetAttribute"/> can be asked; numbers of cuda.h.</summary>
public enum CudaDeviceAttribute
{
    /// <summary>Most threads of a block.</summary>
    MaxThreadsPerBlock = 1,

    /// <summary>Shared memory of a block in bytes, without opting in.</summary>
    MaxSharedMemoryPerBlock = 8,

    /// <summary>Threads of a warp.</summary>
    WarpSize = 10,

    /// <summary>Clock of the multiprocessors in kHz.</summary>
    ClockRate = 13,

    /// <summary>Multiprocessors.</summary>
    MultiprocessorCount = 16,

    /// <summary>Clock of the memory in kHz.</summary>
    MemoryClockRate = 36,

    /// <summary>Width of the memory bus in bits.</summary>
    GlobalMemoryBusWidth = 37,

    /// <summary>Size of the level-2 cache in bytes.</summary>
    L2CacheSize = 38,

    /// <summary>8 of compute capability 8.0.</summary>
    ComputeCapabilityMajor = 75,

    /// <summary>0 of compute capability 8.0.</summary>
    ComputeCapabilityMinor = 76,

    /// <summary>Shared memory of a multiprocessor in bytes.</summary>
    MaxSharedMemoryPerMultiprocessor = 81,

    /// <summary>Shared memory of a block in bytes, when a kernel opts in.</summary>
    MaxSharedMemoryPerBlockOptin = 97,

    /// <summary>Whether memory can be allocated in stream order.</summary>
    MemoryPoolsSupported = 115,
}

/// <summary>What <see cref="ICudaDriver.FuncGetAttribute"/> can be asked; numbers of cuda.h.</summary>
public enum CudaFunctionAttribute
{
    /// <summary>Most threads of a block that the kernel runs with.</summary>
    MaxThreadsPerBlock = 0,

    /// <summary>Static shared memory in bytes.</summary>
    SharedSizeBytes = 1,

    /// <summary>Local memory of a thread in bytes.</summary>
    LocalSizeBytes = 3,

    /// <summary>Registers of a thread.</summary>
    NumRegs = 4,

    /// <summary>10 times the version of the PTX, 84 for 8.4.</summary>
    PtxVersion = 5,

    /// <summary>10 times the compute capability of the code, 80 for 8.0.</summary>
    BinaryVersion = 6,

    /// <summary>Most dynamic shared memory in bytes; can be set.</summary>
    MaxDynamicSharedSizeBytes = 8,
}
