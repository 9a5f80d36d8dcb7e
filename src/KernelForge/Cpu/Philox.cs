using System.Runtime.CompilerServices;

namespace KernelForge.Cpu;

/// <summary>
/// Philox4x32-10: 128 random bits as a function of a 128-bit counter and a 64-bit key, so that a random number is named, not drawn from a state.
/// Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
/// </summary>
internal static class Philox
{
    private const int Rounds = 10;
    private const uint Multiplier0 = 0xD2511F53, Multiplier1 = 0xCD9E8D57, KeyStep0 = 0x9E3779B9, KeyStep1 = 0xBB67AE85;
    private const float WordUnit = 1f / 4294967296f;

    /// <summary>Four random words.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static (uint R0, uint R1, uint R2, uint R3) Next(uint c0, uint c1, uint c2, uint c3, ulong key)
    {
        uint k0 = (uint)key, k1 = (uint)(key >> 32);
        for (int round = 0; round < Rounds; round++)
        {
            ulong p0 = (ulong)Multiplier0 * c0, p1 = (ulong)Multiplier1 * c2;
            c0 = (uint)(p1 >> 32) ^ c1 ^ k0;
            c1 = (uint)p1;
            c2 = (uint)(p0 >> 32) ^ c3 ^ k1;
            c3 = (uint)p0;
            k0 += KeyStep0;
            k1 += KeyStep1;
        }

        return (c0, c1, c2, c3);
    }

    /// <summary>(word + 1/2) / 2^32.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Unit(uint word) => (word + 0.5f) * WordUnit;

    /// <summary>A uniform number of a position.</summary>
    public static float UniformNumber(ulong seed, int position, RandomPurpose purpose) => Unit(Next(0, (uint)position, (uint)purpose, 0, seed).R0);
}
