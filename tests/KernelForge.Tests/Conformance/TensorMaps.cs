namespace KernelForge.Tests;

/// <summary>Tensor maps from a driver without a device around it.</summary>
internal static unsafe class TensorMaps
{
    private const int MaxRank = 5;

    /// <summary>The map of a tensor of F16 or BF16; strides in bytes, of every dimension but the first.</summary>
    public static CudaTensorMap Encode(DriverSession session, nint address, DType type, int[] sizes, long[] strides, int[] box, int swizzle)
    {
        var arguments = new Arguments { Address = address, Type = type == DType.F16 ? 6 : 9, Sizes = sizes, Strides = strides, Box = box, Swizzle = swizzle };
        session.Check(TryEncode(session.Driver, arguments, out CudaTensorMap map));
        return map;
    }

    public static CUresult TryEncode(ICudaDriver driver, Arguments arguments, out CudaTensorMap made)
    {
        byte* room = stackalloc byte[sizeof(CudaTensorMap) + CudaTensorMap.Alignment];
        var map = (CudaTensorMap*)(((nint)room + CudaTensorMap.Alignment - 1) & -CudaTensorMap.Alignment);
        ulong* size = stackalloc ulong[MaxRank + 1], stride = stackalloc ulong[MaxRank + 1];
        uint* box = stackalloc uint[MaxRank + 1], steps = stackalloc uint[MaxRank + 1];
        for (int k = 0; k < arguments.Sizes.Length; k++) (size[k], box[k], steps[k]) = ((ulong)arguments.Sizes[k], (uint)arguments.Box[k], (uint)arguments.ElementStride);
        for (int k = 0; k < arguments.Sizes.Length - 1; k++) stride[k] = (ulong)arguments.Strides[k];
        CUresult result = driver.TensorMapEncodeTiled((CudaTensorMap*)((nint)map + arguments.Misplaced), arguments.Type, (uint)arguments.Sizes.Length, arguments.Address, size, stride, box, steps,
            arguments.Interleave, arguments.Swizzle, arguments.Promotion, arguments.Fill);
        made = *map;
        return result;
    }

    /// <summary>Good ones, to be spoiled one by one.</summary>
    internal sealed record Arguments
    {
        public nint Address { get; init; } = 4096;

        public int Type { get; init; } = 6;

        public int[] Sizes { get; init; } = [64, 100];

        public long[] Strides { get; init; } = [128];

        public int[] Box { get; init; } = [64, 16];

        public int ElementStride { get; init; } = 1;

        public int Interleave { get; init; }

        public int Swizzle { get; init; } = 3;

        public int Promotion { get; init; }

        public int Fill { get; init; }

        /// <summary>Bytes by which the place of the map is off.</summary>
        public int Misplaced { get; init; }
    }
}
