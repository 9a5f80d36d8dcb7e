using System.Numerics;

namespace KernelForge.Cpu;

/// <summary>
/// What top-k, top-p and min-p leave of a row: the tokens up to <paramref name="last"/> in the order of <see cref="TopTokens"/> whose score is not below
/// <paramref name="lowest"/>. Tokens whose score is negative infinity are never left.
/// </summary>
internal readonly struct TokenFilter<TLanes>(ScaledLogits<TLanes> logits, ulong last, float lowest) where TLanes : struct, ILanes<TLanes>
{
    public ScaledLogits<TLanes> Logits => logits;

    /// <summary>A bit for each of the tokens index .. index + 15 that is left, given their logits and scores.</summary>
    public uint Left(int index, TLanes logit, TLanes score)
    {
        TLanes lowestLogit = TLanes.Fill(TopTokens.Logit(last));
        uint left = TLanes.GreaterOrEqual(logit, lowestLogit) & TLanes.GreaterOrEqual(score, TLanes.Fill(lowest)) & Lanes.Present(logits.Length - index);
        for (uint ties = left & TLanes.GreaterOrEqual(lowestLogit, logit); ties != 0; ties &= ties - 1)
        {
            int lane = BitOperations.TrailingZeroCount(ties);
            if (logits.Key(index + lane) > last) left &= ~(1u << lane);
        }

        return left;
    }
}
