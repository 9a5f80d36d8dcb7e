using System.Runtime.CompilerServices;

namespace KernelForge;

/// <summary>
/// What a copy of tiles (TMA, compute capability 9.0) has to know of a tensor: 128 bytes that only driver and hardware understand, from <see cref="CudaDevice.EncodeTensorMap"/>.
/// In the arguments of a kernel it is a field like others, at a multiple of 64 bytes. It holds an address, and is worth nothing once that memory is freed.
/// </summary>
[InlineArray(16)]
public struct CudaTensorMap
{
    /// <summary>Where a driver wants a map that it fills: a multiple of so many bytes.</summary>
    public const int Alignment = 64;

    private ulong _element;
}

/// <summary>How the 16-byte vectors of a tile change places in shared memory, so that columns of it lie in different banks; numbers of cuda.h.</summary>
public enum CudaTensorSwizzle
{
    /// <summary>They lie as in the tensor.</summary>
    None = 0,

    /// <summary>Inside of 32 bytes, which is the longest row of a tile.</summary>
    Bytes32 = 1,

    /// <summary>Inside of 64 bytes, which is the longest row of a tile.</summary>
    Bytes64 = 2,

    /// <summary>Inside of 128 bytes, which is the longest row of a tile: vector v of row r lies at v XOR r mod 8.</summary>
    Bytes128 = 3,
}
