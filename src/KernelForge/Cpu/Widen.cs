using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KernelForge.Cpu;

/// <summary>
/// F16 and BF16 to F32. Exact, so that every width gives the same bits; infinities, NaN payloads, subnormals and the sign of zero included.
/// </summary>
/// <remarks>
/// BF16 is the upper half of an F32. An F16 is moved to the exponent and fraction of an F32; a product with 2^112, the difference of the exponent biases, is
/// then exact, for subnormal numbers too. Infinity and NaN get the exponent of F32 instead. An F16 below 2^-14 passes through an F32 subnormal, on which some
/// processors are slow; the forms without one took a third longer for all numbers.
/// </remarks>
internal static unsafe class Widen
{
    // An F16 moved to the place of an F32: sign at bit 31, exponent and fraction from bit 13 up.
    private const uint F16Bits = 0x8FFF_E000;
    private const uint F16Exponent = 0x0F80_0000;
    private const uint F32Exponent = 0x7F80_0000;
    private const float BiasDifference = 5.192296858534828e33f; // 2^(127 - 15)

    /// <summary>The sixteen elements at <paramref name="source"/>; <typeparamref name="T"/> is float, Half or BFloat16. Needs AVX-512.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Load512<T>(T* source) where T : unmanaged
    {
        if (typeof(T) == typeof(float)) return Vector512.Load((float*)source);
        if (typeof(T) == typeof(BFloat16)) return (Avx512F.ConvertToVector512UInt32(Vector256.Load((ushort*)source)) << 16).AsSingle();

        return F16<T>(Avx512F.ConvertToVector512Int32(Vector256.Load((short*)source)) << 13);
    }

    /// <summary>The lower halves of sixteen words; <typeparamref name="T"/> is Half, FiniteHalf or BFloat16.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Lower<T>(Vector512<uint> words) where T : unmanaged =>
        typeof(T) == typeof(BFloat16) ? (words << 16).AsSingle() : F16<T>((words.AsInt32() << 16) >> 3);

    /// <summary>The upper halves of sixteen words; <typeparamref name="T"/> is Half, FiniteHalf or BFloat16.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Upper<T>(Vector512<uint> words) where T : unmanaged =>
        typeof(T) == typeof(BFloat16) ? (words & Vector512.Create(0xFFFF_0000u)).AsSingle() : F16<T>(words.AsInt32() >> 3);

    /// <summary>The lower halves of eight words; <typeparamref name="T"/> is Half, FiniteHalf or BFloat16.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Lower<T>(Vector256<uint> words) where T : unmanaged =>
        typeof(T) == typeof(BFloat16) ? (words << 16).AsSingle() : F16<T>((words.AsInt32() << 16) >> 3);

    /// <summary>The upper halves of eight words; <typeparamref name="T"/> is Half, FiniteHalf or BFloat16.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Upper<T>(Vector256<uint> words) where T : unmanaged =>
        typeof(T) == typeof(BFloat16) ? (words & Vector256.Create(0xFFFF_0000u)).AsSingle() : F16<T>(words.AsInt32() >> 3);

    /// <summary>From F16 with its sign in front and the rest from bit 13 up.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> F16<T>(Vector512<int> moved)
    {
        Vector512<uint> bits = moved.AsUInt32() & Vector512.Create(F16Bits);
        if (typeof(T) == typeof(FiniteHalf)) return bits.AsSingle() * Vector512.Create(BiasDifference);
        Vector512<uint> special = Vector512.Equals(bits & Vector512.Create(F16Exponent), Vector512.Create(F16Exponent));
        Vector512<float> value = bits.AsSingle() * Vector512.Create(BiasDifference);
        return (value.AsUInt32() | (special & Vector512.Create(F32Exponent))).AsSingle();
    }

    /// <summary>The eight elements at <paramref name="source"/>; <typeparamref name="T"/> is float, Half or BFloat16. Needs AVX2.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Load256<T>(T* source) where T : unmanaged
    {
        if (typeof(T) == typeof(float)) return Vector256.Load((float*)source);
        if (typeof(T) == typeof(BFloat16)) return (Avx2.ConvertToVector256Int32(Vector128.Load((ushort*)source)) << 16).AsSingle();

        return F16<T>(Avx2.ConvertToVector256Int32(Vector128.Load((short*)source)) << 13);
    }

    /// <summary>From F16 with its sign in front and the rest from bit 13 up.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> F16<T>(Vector256<int> moved)
    {
        Vector256<uint> bits = moved.AsUInt32() & Vector256.Create(F16Bits);
        if (typeof(T) == typeof(FiniteHalf)) return bits.AsSingle() * Vector256.Create(BiasDifference);
        Vector256<uint> special = Vector256.Equals(bits & Vector256.Create(F16Exponent), Vector256.Create(F16Exponent));
        Vector256<float> value = bits.AsSingle() * Vector256.Create(BiasDifference);
        return (value.AsUInt32() | (special & Vector256.Create(F32Exponent))).AsSingle();
    }

    /// <summary>One element; <typeparamref name="T"/> is float, Half or BFloat16.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float One<T>(T value) where T : unmanaged
    {
        if (typeof(T) == typeof(float)) return Unsafe.BitCast<T, float>(value);
        if (typeof(T) == typeof(BFloat16)) return Unsafe.BitCast<T, BFloat16>(value);

        uint bits = ((uint)Unsafe.BitCast<T, short>(value) << 13) & F16Bits;
        float finite = BitConverter.UInt32BitsToSingle(bits) * BiasDifference;
        return (bits & F16Exponent) == F16Exponent ? BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(finite) | F32Exponent) : finite;
    }
}

/// <summary>An F16 that is neither infinite nor NaN: widened with three instructions less.</summary>
[StructLayout(LayoutKind.Sequential, Size = sizeof(ushort))]
internal readonly struct FiniteHalf
{
    /// <summary>Whether all halves of so many words are finite.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static unsafe bool AreAll(uint* words, nint count)
    {
        Vector256<ushort> exponent = Vector256.Create((ushort)0x7C00), special = default;
        for (; count >= Vector256<uint>.Count; count -= Vector256<uint>.Count, words += Vector256<uint>.Count)
            special |= Vector256.Equals(Vector256.Load((ushort*)words) & exponent, exponent);
        return special == default;
    }
}
