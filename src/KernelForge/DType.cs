using KernelForge.Cpu;

namespace KernelForge;

/// <summary>Element type of device memory.</summary>
public enum DType : byte
{
    /// <summary>32-bit IEEE float.</summary>
    F32,

    /// <summary>16-bit IEEE float (<see cref="Half"/>).</summary>
    F16,

    /// <summary>The upper 16 bits of a 32-bit float (<see cref="KernelForge.BFloat16"/>).</summary>
    BF16,

    /// <summary>32-bit signed integer.</summary>
    I32,

    /// <summary>8-bit signed integer.</summary>
    I8,
}

/// <summary>Sizes of element types and the C# types that hold them.</summary>
public static class DTypes
{
    /// <summary>Bytes of one element.</summary>
    public static int Size(this DType type) => type switch
    {
        DType.F32 or DType.I32 => 4,
        DType.F16 or DType.BF16 => 2,
        DType.I8 => 1,
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "unknown element type"),
    };

    /// <summary>Whether the type is one of the three float types that operators compute with.</summary>
    public static bool IsFloat(this DType type) => type is DType.F32 or DType.F16 or DType.BF16;

    /// <summary>
    /// Copies host elements of one float type to another, rounding to nearest even where the new one is narrower. Throws
    /// <see cref="ArgumentException"/> when a type is no float type or the numbers of elements differ.
    /// </summary>
    public static unsafe void Convert(ReadOnlySpan<byte> source, DType from, Span<byte> destination, DType to)
    {
        int length = source.Length / from.Size();
        Check.That(from.IsFloat() && to.IsFloat() && (long)length * from.Size() == source.Length && (long)length * to.Size() == destination.Length,
            $"Convert: {source.Length} bytes of {from} to {destination.Length} bytes of {to}");
        fixed (byte* first = source, second = destination)
        {
            if (CpuInstructionSets.Best == CpuInstructionSet.Vector512) Elements.Convert<Lanes512>((nint)first, from, (nint)second, to, length);
            else if (CpuInstructionSets.Best == CpuInstructionSet.Vector256) Elements.Convert<Lanes256>((nint)first, from, (nint)second, to, length);
            else Elements.Convert<LanesScalar>((nint)first, from, (nint)second, to, length);
        }
    }

    /// <summary>Element type held by <typeparamref name="T"/>: float, Half, BFloat16, int or sbyte.</summary>
    /// <exception cref="ArgumentException"><typeparamref name="T"/> is none of the five.</exception>
    public static DType Of<T>() where T : unmanaged =>
        typeof(T) == typeof(float) ? DType.F32 :
        typeof(T) == typeof(Half) ? DType.F16 :
        typeof(T) == typeof(BFloat16) ? DType.BF16 :
        typeof(T) == typeof(int) ? DType.I32 :
        typeof(T) == typeof(sbyte) ? DType.I8 :
        throw new ArgumentException($"{typeof(T)} is no element type; expected float, Half, BFloat16, int or sbyte");
}
