using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KernelForge.Cpu;

/// <summary>
/// F16 and BF16 to F32. Exact, so that every width gives the same bits; infinities, NaN payloads, subnormals and the sign of zero included.
/// </summary>
internal static unsafe class Widen
{
    // An F16 moved to the place of an F32: sign at bit 31, exponent and fraction from bit 13 up.
    private const uint F16Bits = 0x8FFF_E000;
    private const uint F16Exponent = 0x0F80_0000;
    private const uint F32Sign = 0x8000_0000;
    private const uint BiasDifference = 112u << 23; // 127 - 15
    private const uint SmallestNormalF16 = 113u << 23; // 2^-14

    /// <summary>The sixteen elements at <paramref name="source"/>; <typeparamref name="T"/> is float, Half or BFloat16. Needs AVX-512.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Load512<T>(T* source) where T : unmanaged
    {
        if (typeof(T) == typeof(float)) return Vector512.Load((float*)source);
        if (typeof(T) == typeof(BFloat16))
            return Vector512.ShiftLeft(Avx512F.ConvertToVector512UInt32(Vector256.Load((ushort*)source)), 16).AsSingle();

        Vector512<uint> bits = Vector512.ShiftLeft(Avx512F.ConvertToVector512Int32(Vector256.Load((short*)source)).AsUInt32(), 13)
            & Vector512.Create(F16Bits);
        Vector512<uint> sign = bits & Vector512.Create(F32Sign), exponent = bits & Vector512.Create(F16Exponent);
        Vector512<uint> normal = bits + Vector512.Create(BiasDifference);
        // 2^-14 · (1 + fraction) - 2^-14; the sign is set again because the difference of equal numbers is +0.
        Vector512<uint> subnormal = ((bits + Vector512.Create(SmallestNormalF16)).AsSingle()
            - (sign | Vector512.Create(SmallestNormalF16)).AsSingle()).AsUInt32() | sign;
        Vector512<uint> result = Vector512.ConditionalSelect(Vector512.Equals(exponent, Vector512<uint>.Zero), subnormal, normal);
        Vector512<uint> special = Vector512.Equals(exponent, Vector512.Create(F16Exponent));
        return (result + (special & Vector512.Create(BiasDifference))).AsSingle();
    }

    /// <summary>The eight elements at <paramref name="source"/>; <typeparamref name="T"/> is float, Half or BFloat16. Needs AVX2.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Load256<T>(T* source) where T : unmanaged
    {
        if (typeof(T) == typeof(float)) return Vector256.Load((float*)source);
        if (typeof(T) == typeof(BFloat16))
            return Vector256.ShiftLeft(Avx2.ConvertToVector256Int32(Vector128.Load((ushort*)source)), 16).AsSingle();

        Vector256<uint> bits = Vector256.ShiftLeft(Avx2.ConvertToVector256Int32(Vector128.Load((short*)source)).AsUInt32(), 13)
            & Vector256.Create(F16Bits);
        Vector256<uint> sign = bits & Vector256.Create(F32Sign), exponent = bits & Vector256.Create(F16Exponent);
        Vector256<uint> normal = bits + Vector256.Create(BiasDifference);
        Vector256<uint> subnormal = ((bits + Vector256.Create(SmallestNormalF16)).AsSingle()
            - (sign | Vector256.Create(SmallestNormalF16)).AsSingle()).AsUInt32() | sign;
        Vector256<uint> result = Vector256.ConditionalSelect(Vector256.Equals(exponent, Vector256<uint>.Zero), subnormal, normal);
        Vector256<uint> special = Vector256.Equals(exponent, Vector256.Create(F16Exponent));
        return (result + (special & Vector256.Create(BiasDifference))).AsSingle();
    }

    /// <summary>One element; <typeparamref name="T"/> is float, Half or BFloat16.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float One<T>(T value) where T : unmanaged
    {
        if (typeof(T) == typeof(float)) return Unsafe.BitCast<T, float>(value);
        if (typeof(T) == typeof(BFloat16)) return Unsafe.BitCast<T, BFloat16>(value);

        uint bits = ((uint)(int)Unsafe.BitCast<T, short>(value) << 13) & F16Bits;
        uint sign = bits & F32Sign, exponent = bits & F16Exponent;
        if (exponent == 0)
        {
            float difference = BitConverter.UInt32BitsToSingle(bits + SmallestNormalF16) - BitConverter.UInt32BitsToSingle(sign | SmallestNormalF16);
            return BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(difference) | sign);
        }
        return BitConverter.UInt32BitsToSingle(bits + (exponent == F16Exponent ? 2 * BiasDifference : BiasDifference));
    }

    /// <summary>Widens <paramref name="count"/> elements.</summary>
    public static void Row(DType type, void* source, float* destination, int count)
    {
        switch (type)
        {
            case DType.F32: Row((float*)source, destination, count); break;
            case DType.F16: Row((Half*)source, destination, count); break;
            case DType.BF16: Row((BFloat16*)source, destination, count); break;
            default: throw new ArgumentOutOfRangeException(nameof(type), type, "expected F32, F16 or BF16");
        }
    }

    /// <summary>Widens <paramref name="count"/> elements; <typeparamref name="T"/> is float, Half or BFloat16.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Row<T>(T* source, float* destination, int count) where T : unmanaged
    {
        int i = 0;
        if (Vector512.IsHardwareAccelerated && Avx512F.IsSupported)
            for (; i <= count - 16; i += 16) Load512(source + i).Store(destination + i);
        if (Avx2.IsSupported)
            for (; i <= count - 8; i += 8) Load256(source + i).Store(destination + i);
        for (; i < count; i++) destination[i] = One(source[i]);
    }
}
