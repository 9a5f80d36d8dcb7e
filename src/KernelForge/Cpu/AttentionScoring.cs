using System.Runtime.CompilerServices;

namespace KernelForge.Cpu;

/// <summary>How scores are made of products of queries and keys: product · scale, or cap · tanh(product · (scale / cap)).</summary>
internal readonly struct AttentionScoring(float scale, float softCap)
{
    private readonly float _rate = softCap == 0 ? scale : scale / softCap;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public TLanes Scores<TLanes>(TLanes products) where TLanes : struct, ILanes<TLanes>
    {
        TLanes scores = products * TLanes.Fill(_rate);
        return softCap == 0 ? scores : TLanes.Fill(softCap) * LaneMath.Tanh(scores);
    }
}
