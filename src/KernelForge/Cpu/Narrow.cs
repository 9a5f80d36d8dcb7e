using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KernelForge.Cpu;

/// <summary>F32 to F16 and BF16: nearest, ties to even, the same bits as the conversions of <see cref="Half"/> and <see cref="BFloat16"/>.</summary>
/// <remarks>
/// F16: the exponent bias is moved and bit 13 rounded; a carry into the exponent is right, up to infinity. Below 2^-14, adding 0.5 puts the bits of 2^-24 last,
/// and the addition rounds.
/// </remarks>
internal static unsafe class Narrow
{
    private const uint F32Magnitude = 0x7FFF_FFFF;
    private const uint F32Infinity = 0x7F80_0000;
    private const uint SmallestNormalF16 = 113u << 23; // as an F32: 2^-14
    private const uint TooLargeForF16 = 143u << 23; // as an F32: 65,536
    private const uint F16Infinity = 0x7C00;
    private const uint F16QuietNaN = 0x7E00;
    private const uint F16Rounding = unchecked((uint)(15 - 127) << 23) + 0xFFF; // exponent bias 127 to 15, and one less than half of the last place

    /// <summary>Rounds and writes sixteen elements; <typeparamref name="T"/> is float, Half or BFloat16. Needs AVX-512.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store512<T>(Vector512<float> value, T* destination) where T : unmanaged
    {
        if (typeof(T) == typeof(float)) value.Store((float*)destination);
        else
            Avx512F.ConvertToVector256UInt16(typeof(T) == typeof(BFloat16) ? BF16(value.AsUInt32()) : F16(value.AsUInt32())).Store((ushort*)destination);
    }

    /// <summary>Rounds and writes sixteen elements; <typeparamref name="T"/> is float, Half or BFloat16. Needs AVX2.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store256<T>(Vector256<float> low, Vector256<float> high, T* destination) where T : unmanaged
    {
        if (typeof(T) == typeof(float))
        {
            low.Store((float*)destination);
            high.Store((float*)destination + 8);
        }
        else if (typeof(T) == typeof(BFloat16)) Vector256.Narrow(BF16(low.AsUInt32()), BF16(high.AsUInt32())).Store((ushort*)destination);
        else Vector256.Narrow(F16(low.AsUInt32()), F16(high.AsUInt32())).Store((ushort*)destination);
    }

    /// <summary>One element; <typeparamref name="T"/> is float, Half or BFloat16.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T One<T>(float value) where T : unmanaged =>
        typeof(T) == typeof(float) ? Unsafe.BitCast<float, T>(value) :
        typeof(T) == typeof(BFloat16) ? Unsafe.BitCast<BFloat16, T>((BFloat16)value) :
        Unsafe.BitCast<Half, T>((Half)value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> BF16(Vector512<uint> bits)
    {
        Vector512<uint> rounded = (bits + Vector512.Create(0x7FFFu) + ((bits >> 16) & Vector512<uint>.One)) >> 16;
        Vector512<uint> isNaN = Vector512.GreaterThan(bits & Vector512.Create(F32Magnitude), Vector512.Create(F32Infinity));
        return Vector512.ConditionalSelect(isNaN, (bits >> 16) | Vector512.Create(0x40u), rounded);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> F16(Vector512<uint> bits)
    {
        Vector512<uint> magnitude = bits & Vector512.Create(F32Magnitude), shifted = magnitude >> 13;
        Vector512<uint> normal = (magnitude + Vector512.Create(F16Rounding) + (shifted & Vector512<uint>.One)) >> 13;
        Vector512<uint> subnormal = (magnitude.AsSingle() + Vector512.Create(0.5f)).AsUInt32() - Vector512.Create(0.5f).AsUInt32();
        Vector512<uint> nan = (shifted & Vector512.Create(0x3FFu)) | Vector512.Create(F16QuietNaN);
        Vector512<uint> isNaN = Vector512.GreaterThan(magnitude, Vector512.Create(F32Infinity));
        Vector512<uint> special = Vector512.ConditionalSelect(isNaN, nan, Vector512.Create(F16Infinity));
        Vector512<uint> rounded = Vector512.ConditionalSelect(Vector512.LessThan(magnitude, Vector512.Create(SmallestNormalF16)), subnormal, normal);
        rounded = Vector512.ConditionalSelect(Vector512.GreaterThanOrEqual(magnitude, Vector512.Create(TooLargeForF16)), special, rounded);
        return rounded | ((bits >> 16) & Vector512.Create(0x8000u));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<uint> BF16(Vector256<uint> bits)
    {
        Vector256<uint> rounded = (bits + Vector256.Create(0x7FFFu) + ((bits >> 16) & Vector256<uint>.One)) >> 16;
        Vector256<uint> isNaN = Vector256.GreaterThan(bits & Vector256.Create(F32Magnitude), Vector256.Create(F32Infinity));
        return Vector256.ConditionalSelect(isNaN, (bits >> 16) | Vector256.Create(0x40u), rounded);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<uint> F16(Vector256<uint> bits)
    {
        Vector256<uint> magnitude = bits & Vector256.Create(F32Magnitude), shifted = magnitude >> 13;
        Vector256<uint> normal = (magnitude + Vector256.Create(F16Rounding) + (shifted & Vector256<uint>.One)) >> 13;
        Vector256<uint> subnormal = (magnitude.AsSingle() + Vector256.Create(0.5f)).AsUInt32() - Vector256.Create(0.5f).AsUInt32();
        Vector256<uint> nan = (shifted & Vector256.Create(0x3FFu)) | Vector256.Create(F16QuietNaN);
        Vector256<uint> isNaN = Vector256.GreaterThan(magnitude, Vector256.Create(F32Infinity));
        Vector256<uint> special = Vector256.ConditionalSelect(isNaN, nan, Vector256.Create(F16Infinity));
        Vector256<uint> rounded = Vector256.ConditionalSelect(Vector256.LessThan(magnitude, Vector256.Create(SmallestNormalF16)), subnormal, normal);
        rounded = Vector256.ConditionalSelect(Vector256.GreaterThanOrEqual(magnitude, Vector256.Create(TooLargeForF16)), special, rounded);
        return rounded | ((bits >> 16) & Vector256.Create(0x8000u));
    }
}
