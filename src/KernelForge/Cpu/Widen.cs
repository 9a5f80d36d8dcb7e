using System.Runtime.CompilerServices;
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

        Vector512<uint> bits = (Avx512F.ConvertToVector512Int32(Vector256.Load((short*)source)).AsUInt32() << 13) & Vector512.Create(F16Bits);
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

        Vector256<uint> bits = (Avx2.ConvertToVector256Int32(Vector128.Load((short*)source)).AsUInt32() << 13) & Vector256.Create(F16Bits);
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
