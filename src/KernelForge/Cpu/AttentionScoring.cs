using System.Runtime.CompilerServices;

namespace KernelForge.Cpu;

/// <summary>
/// How scores are made of products of queries and keys: product · scale, or cap · tanh(product · (scale / cap)). They are counted in units of ln 2, so that
/// weights are powers of two.
/// </summary>
internal readonly struct AttentionScoring(float scale, float softCap)
{
    /// <summary>ln 2.</summary>
    public const float Unit = 0.693147181f;

    private const float PerUnit = 1.44269504f;

    private readonly float _cap = softCap * PerUnit;

    /// <summary>What products are multiplied with.</summary>
    public float Rate { get; } = softCap == 0 ? scale * PerUnit : scale / softCap;

    public bool HasCap => softCap != 0;

    /// <summary>Scores of products that were multiplied with the rate, where there is a cap.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public TLanes Cap<TLanes>(TLanes products) where TLanes : struct, ILanes<TLanes> => TLanes.Fill(_cap) * LaneMath.Tanh(products);
}
