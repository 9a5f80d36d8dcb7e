using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace KernelForge.Cpu;

/// <summary>F32 to F16 and BF16: nearest, ties to even, the same bits as the conversions of <see cref="Half"/> and <see cref="BFloat16"/>.</summary>
internal static unsafe class Narrow
{
    private const uint F32Sign = 0x8000_0000;
    private const uint F32Infinity = 0x7F80_0000;

    /// <summary>Rounds <paramref name="count"/> elements to the type and stores them.</summary>
    public static void Row(DType type, float* source, void* destination, int count)
    {
        switch (type)
        {
            case DType.F32: Unsafe.CopyBlockUnaligned(destination, source, (uint)count * sizeof(float)); break;
            case DType.F16: ToF16(source, (Half*)destination, count); break;
            case DType.BF16: ToBF16(source, (BFloat16*)destination, count); break;
            default: throw new ArgumentOutOfRangeException(nameof(type), type, "expected F32, F16 or BF16");
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void ToBF16(float* source, BFloat16* destination, int count)
    {
        int i = 0;
        for (; i <= count - 8; i += 8)
        {
            Vector256<uint> bits = Vector256.Load(source + i).AsUInt32();
            Vector256<uint> even = Vector256.ShiftRightLogical(bits, 16) & Vector256<uint>.One;
            Vector256<uint> rounded = Vector256.ShiftRightLogical(bits + Vector256.Create(0x7FFFu) + even, 16);
            Vector256<uint> quietNan = Vector256.ShiftRightLogical(bits, 16) | Vector256.Create(0x40u);
            Vector256<uint> isNan = Vector256.GreaterThan(bits & Vector256.Create(~F32Sign), Vector256.Create(F32Infinity));
            Vector256<uint> result = Vector256.ConditionalSelect(isNan, quietNan, rounded);
            Vector128.Narrow(result.GetLower(), result.GetUpper()).Store((ushort*)(destination + i));
        }
        for (; i < count; i++) destination[i] = (BFloat16)source[i];
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void ToF16(float* source, Half* destination, int count)
    {
        int i = 0;
        for (; i <= count - 8; i += 8)
        {
            Vector256<uint> result = ToF16Bits(Vector256.Load(source + i).AsUInt32());
            Vector128.Narrow(result.GetLower(), result.GetUpper()).Store((ushort*)(destination + i));
        }
        for (; i < count; i++) destination[i] = (Half)source[i];
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<uint> ToF16Bits(Vector256<uint> bits)
    {
        Vector256<uint> sign = Vector256.ShiftRightLogical(bits & Vector256.Create(F32Sign), 16);
        Vector256<uint> magnitude = bits & Vector256.Create(~F32Sign);

        // Normal: move the exponent bias and round at bit 13; a carry into the exponent is right, up to infinity.
        Vector256<uint> even = Vector256.ShiftRightLogical(magnitude, 13) & Vector256<uint>.One;
        Vector256<uint> normal = Vector256.ShiftRightLogical(magnitude - Vector256.Create(112u << 23) + Vector256.Create(0xFFFu) + even, 13);
        // Below 2^-14: adding 0.5 puts the bits of 2^-24 last, and the addition rounds.
        Vector256<uint> subnormal = (magnitude.AsSingle() + Vector256.Create(0.5f)).AsUInt32() - Vector256.Create(126u << 23);

        Vector256<uint> result = Vector256.ConditionalSelect(Vector256.LessThan(magnitude, Vector256.Create(113u << 23)), subnormal, normal);
        Vector256<uint> overflows = Vector256.GreaterThanOrEqual(magnitude, Vector256.Create(143u << 23)); // 65,536
        result = Vector256.ConditionalSelect(overflows, Vector256.Create(0x7C00u), result);
        Vector256<uint> isNan = Vector256.GreaterThan(magnitude, Vector256.Create(F32Infinity));
        Vector256<uint> quietNan = Vector256.ShiftRightLogical(magnitude, 13) & Vector256.Create(0x3FFu) | Vector256.Create(0x7E00u);
        return sign | Vector256.ConditionalSelect(isNan, quietNan, result);
    }
}
