namespace KernelForge.Cpu;

/// <summary>
/// Standard Gumbel noise -log(-log(u)), a function of seed, position, token id and purpose. The uniform number is 1 - v with v = (word + 1/2) / 2^32, so that the
/// upper tail, which decides who wins, is as fine as 2^-33.
/// </summary>
/// <param name="seed">Of the sequence.</param>
/// <param name="position">Absolute position of the token that is drawn.</param>
/// <param name="purpose">What it decides.</param>
internal readonly unsafe struct GumbelNoise(ulong seed, int position, RandomPurpose purpose = RandomPurpose.Sampling)
{
    /// <summary>No noise is larger: -log(-log(1 - 2^-33)) is 22.87.</summary>
    public const float Largest = 23;

    /// <summary>Noise of the tokens first .. first + 15; <paramref name="first"/> is a multiple of four.</summary>
    public TLanes Next<TLanes>(int first) where TLanes : struct, ILanes<TLanes>
    {
        float* small = stackalloc float[Lanes.Count], rest = stackalloc float[Lanes.Count];
        for (int i = 0; i < Lanes.Count; i += 4)
        {
            (uint r0, uint r1, uint r2, uint r3) = Philox.Next((uint)(first + i) / 4, (uint)position, (uint)purpose, 0, seed);
            (small[i], small[i + 1], small[i + 2], small[i + 3]) = (Philox.Unit(r0), Philox.Unit(r1), Philox.Unit(r2), Philox.Unit(r3));
            (rest[i], rest[i + 1], rest[i + 2], rest[i + 3]) = (Philox.Unit(~r0), Philox.Unit(~r1), Philox.Unit(~r2), Philox.Unit(~r3));
        }

        TLanes exponential = LaneMath.NegativeLogOfRest(TLanes.Load(small), TLanes.Load(rest));
        return TLanes.Fill(0) - LaneMath.Log(exponential);
    }
}
