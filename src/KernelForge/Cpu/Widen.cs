using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KernelForge.Cpu;

/// <summary>
/// F16 and BF16 to F32. Exact, so that every width gives the same bits; infinities, NaN payloads, subnormals and the sign of zero included.
/// </summary>
/// <remarks>
/// BF16 is the upper half of an F32. An F16 is moved to the exponent and fraction of an F32, then the difference of the exponent biases is added. Two kinds of
/// numbers need more. Infinity and NaN get the difference once more. A subnormal was read as 2^-15 · (1 + f) and is 2^-14 · f, which is twice that minus 2^-14;
/// its sign is set again, because the difference of equal numbers is +0. No step meets an F32 subnormal, on which some processors are slow.
/// </remarks>
internal static unsafe class Widen
{
    // An F16 moved to the place of an F32: sign at bit 31, exponent and fraction from bit 13 up.
    private const uint F16Bits = 0x8FFF_E000;
    private const uint F16Exponent = 0x0F80_0000;
    private const uint F32Sign = 0x8000_0000;
    private const uint BiasDifference = 112u << 23; // 127 - 15
    private const uint SmallestNormalF16 = 113u << 23; // as an F32: 2^-14

    /// <summary>The sixteen elements at <paramref name="source"/>; <typeparamref name="T"/> is float, Half or BFloat16. Needs AVX-512.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Load512<T>(T* source) where T : unmanaged
    {
        if (typeof(T) == typeof(float)) return Vector512.Load((float*)source);
        if (typeof(T) == typeof(BFloat16))
            return Vector512.ShiftLeft(Avx512F.ConvertToVector512UInt32(Vector256.Load((ushort*)source)), 16).AsSingle();

        Vector512<uint> bits = Vector512.ShiftLeft(Avx512F.ConvertToVector512Int32(Vector256.Load((short*)source)).AsUInt32(), 13) & Vector512.Create(F16Bits);
        Vector512<uint> sign = bits & Vector512.Create(F32Sign), exponent = bits & Vector512.Create(F16Exponent);
        Vector512<float> normal = (bits + Vector512.Create(BiasDifference)).AsSingle();
        Vector512<float> minusOne = ((~bits & Vector512.Create(F32Sign)) | Vector512.Create(SmallestNormalF16)).AsSingle();
        Vector512<uint> subnormal = Vector512.FusedMultiplyAdd(normal, Vector512.Create(2f), minusOne).AsUInt32();
        Vector512<uint> finite = Vector512.ConditionalSelect(Vector512.Equals(exponent, Vector512<uint>.Zero), subnormal, normal.AsUInt32()) | sign;
        Vector512<uint> special = Vector512.Equals(exponent, Vector512.Create(F16Exponent));
        return Vector512.ConditionalSelect(special, finite + Vector512.Create(BiasDifference), finite).AsSingle();
    }

    /// <summary>The eight elements at <paramref name="source"/>; <typeparamref name="T"/> is float, Half or BFloat16. Needs AVX2.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Load256<T>(T* source) where T : unmanaged
    {
        if (typeof(T) == typeof(float)) return Vector256.Load((float*)source);
        if (typeof(T) == typeof(BFloat16))
            return Vector256.ShiftLeft(Avx2.ConvertToVector256Int32(Vector128.Load((ushort*)source)), 16).AsSingle();

        Vector256<uint> bits = Vector256.ShiftLeft(Avx2.ConvertToVector256Int32(Vector128.Load((short*)source)).AsUInt32(), 13) & Vector256.Create(F16Bits);
        Vector256<uint> sign = bits & Vector256.Create(F32Sign), exponent = bits & Vector256.Create(F16Exponent);
        Vector256<float> normal = (bits + Vector256.Create(BiasDifference)).AsSingle();
        Vector256<float> minusOne = ((~bits & Vector256.Create(F32Sign)) | Vector256.Create(SmallestNormalF16)).AsSingle();
        Vector256<uint> subnormal = Vector256.FusedMultiplyAdd(normal, Vector256.Create(2f), minusOne).AsUInt32();
        Vector256<uint> finite = Vector256.ConditionalSelect(Vector256.Equals(exponent, Vector256<uint>.Zero), subnormal, normal.AsUInt32()) | sign;
        Vector256<uint> special = Vector256.Equals(exponent, Vector256.Create(F16Exponent));
        return Vector256.ConditionalSelect(special, finite + Vector256.Create(BiasDifference), finite).AsSingle();
    }

    /// <summary>One element; <typeparamref name="T"/> is float, Half or BFloat16.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float One<T>(T value) where T : unmanaged
    {
        if (typeof(T) == typeof(float)) return Unsafe.BitCast<T, float>(value);
        if (typeof(T) == typeof(BFloat16)) return Unsafe.BitCast<T, BFloat16>(value);

        uint bits = ((uint)(int)Unsafe.BitCast<T, short>(value) << 13) & F16Bits;
        uint sign = bits & F32Sign, exponent = bits & F16Exponent;
        float normal = BitConverter.UInt32BitsToSingle(bits + BiasDifference);
        float minusOne = BitConverter.UInt32BitsToSingle((~bits & F32Sign) | SmallestNormalF16);
        uint finite = BitConverter.SingleToUInt32Bits(exponent == 0 ? 2 * normal + minusOne : normal) | sign;
        return BitConverter.UInt32BitsToSingle(exponent == F16Exponent ? finite + BiasDifference : finite);
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
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
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
