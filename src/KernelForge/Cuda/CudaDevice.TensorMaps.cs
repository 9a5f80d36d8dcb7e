using KernelForge.Cuda;

namespace KernelForge;

/// <summary>Tensor maps for kernels that load tiles by TMA.</summary>
public sealed unsafe partial class CudaDevice
{
    private const int MaxRank = 5;

    /// <summary>Describes a tensor in device memory and the tile that one copy moves. What lies outside of the tensor becomes zero.</summary>
    /// <param name="address">Of the first element, a multiple of 16 bytes.</param>
    /// <param name="type">Of the elements.</param>
    /// <param name="sizes">Elements of each dimension, the one that runs fastest first; 1 to 5 of them.</param>
    /// <param name="strides">Bytes from one element to the next of every dimension but the first, multiples of 16.</param>
    /// <param name="box">Elements of the tile in each dimension, 1 to 256; the first dimension's are a multiple of 16 bytes, and no more than the swizzle takes.</param>
    /// <param name="swizzle">How the tile lies in shared memory.</param>
    /// <exception cref="ArgumentException">The numbers of sizes, strides and box do not match.</exception>
    /// <exception cref="CudaException">The driver refuses: a rule above is broken, or the device is older than 9.0.</exception>
    public CudaTensorMap EncodeTensorMap(
        nint address, DType type, ReadOnlySpan<long> sizes, ReadOnlySpan<long> strides, ReadOnlySpan<int> box, CudaTensorSwizzle swizzle)
    {
        int rank = sizes.Length;
        Check.That(rank is > 0 and <= MaxRank, $"EncodeTensorMap: {rank} sizes, expected 1 to {MaxRank}");
        Check.That(strides.Length == rank - 1 && box.Length == rank, $"EncodeTensorMap: {strides.Length} strides and a box of {box.Length}, expected {rank - 1} and {rank}");
        int typeNumber = TensorType(type);
        uint* elementStrides = stackalloc uint[MaxRank];
        new Span<uint>(elementStrides, MaxRank).Fill(1); // a list of constants makes garbage where code is not optimised
        byte* room = stackalloc byte[sizeof(CudaTensorMap) + CudaTensorMap.Alignment];
        var map = (CudaTensorMap*)(((nint)room + CudaTensorMap.Alignment - 1) & -CudaTensorMap.Alignment);
        using CurrentContext context = Enter();
        fixed (long* size = sizes, stride = strides)
        fixed (int* boxSize = box)
        {
            CUresult result = Driver.TensorMapEncodeTiled(
                map, typeNumber, (uint)rank, address, (ulong*)size, (ulong*)stride, (uint*)boxSize, elementStrides, 0, (int)swizzle, 2, 0);
            if (result != CUresult.Success) throw Failure(result, "cuTensorMapEncodeTiled", Describe(type, sizes, strides, box, swizzle));
        }
        return *map;
    }

    private static string Describe(DType type, ReadOnlySpan<long> sizes, ReadOnlySpan<long> strides, ReadOnlySpan<int> box, CudaTensorSwizzle swizzle) =>
        $"{type} [{string.Join(", ", sizes.ToArray())}], strides [{string.Join(", ", strides.ToArray())}], box [{string.Join(", ", box.ToArray())}], {swizzle}";

    /// <summary>CUtensorMapDataType.</summary>
    private static int TensorType(DType type) => type switch
    {
        DType.F16 => 6,
        DType.F32 => 7,
        DType.BF16 => 9,
        _ => throw new ArgumentException($"EncodeTensorMap: {type}, expected F16, BF16 or F32"),
    };
}
