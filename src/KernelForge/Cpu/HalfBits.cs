namespace KernelForge.Cpu;

/// <summary>Constants of the conversions between F16 and F32 that work on bits.</summary>
internal static class HalfBits
{
    /// <summary>2^112: moves the exponent of an F16 number, put into F32 fields as it is, to where F32 has it. Exact for subnormal numbers too.</summary>
    public const float Rebias = 5.192296858534828e33f;

    /// <summary>Where sign, exponent and fraction of a sign-extended F16 number are after a shift by the 13 places that F32 has more of fraction.</summary>
    public const int SignAndMagnitude = unchecked((int)0x8FFFE000);

    /// <summary>The exponent of F16 infinity and NaN after that shift.</summary>
    public const int Infinity = 31 << 23;

    /// <summary>F32 bits of infinity.</summary>
    public const uint WideInfinity = 0x7F800000;

    /// <summary>F32 bits of 2^-14; smaller numbers are subnormal in F16.</summary>
    public const uint SmallestNormalWide = 113u << 23;

    /// <summary>F32 bits of 65536; from here on F16 has infinity only.</summary>
    public const uint TooLargeWide = 143u << 23;

    /// <summary>Exponent bias 127 to 15, and one less than half of the last F16 place.</summary>
    public const uint RoundingBias = unchecked((uint)((15 - 127) << 23) + 0xFFF);
}
