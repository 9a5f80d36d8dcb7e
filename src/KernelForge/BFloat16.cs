using System.Globalization;

namespace KernelForge;

/// <summary>The upper half of a 32-bit float: 8 exponent bits, 7 fraction bits. Conversion from float rounds to nearest, ties to even.</summary>
public readonly struct BFloat16 : IEquatable<BFloat16>
{
    private readonly ushort _bits;

    private BFloat16(ushort bits) => _bits = bits;

    /// <summary>The number whose sixteen bits are <paramref name="bits"/>.</summary>
    public static BFloat16 FromBits(ushort bits) => new(bits);

    /// <summary>The sixteen bits.</summary>
    public ushort ToBits() => _bits;

    /// <summary>Exact widening.</summary>
    public static implicit operator float(BFloat16 value) => BitConverter.UInt32BitsToSingle((uint)value._bits << 16);

    /// <summary>Rounds to nearest even; NaN stays NaN, values beyond the largest finite one become infinite.</summary>
    public static explicit operator BFloat16(float value)
    {
        uint wide = BitConverter.SingleToUInt32Bits(value);
        if (float.IsNaN(value)) return new((ushort)((wide >> 16) | 0x40)); // keep it quiet: the lost bits may be all that made it NaN
        return new((ushort)((wide + 0x7FFF + ((wide >> 16) & 1)) >> 16));
    }

    /// <inheritdoc/>
    public bool Equals(BFloat16 other) => (float)this == (float)other || (float.IsNaN(this) && float.IsNaN(other));

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is BFloat16 other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => ((float)this).GetHashCode();

    /// <summary>IEEE equality.</summary>
    public static bool operator ==(BFloat16 left, BFloat16 right) => (float)left == (float)right;

    /// <summary>IEEE inequality.</summary>
    public static bool operator !=(BFloat16 left, BFloat16 right) => (float)left != (float)right;

    /// <inheritdoc/>
    public override string ToString() => ((float)this).ToString(CultureInfo.InvariantCulture);
}
