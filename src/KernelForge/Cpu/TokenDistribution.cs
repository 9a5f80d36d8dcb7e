using System.Numerics;

namespace KernelForge.Cpu;

/// <summary>What a row of logits says of each token after the filters: likelihoods times 1 / their sum, which is a whole number of units, so that no order matters.</summary>
internal readonly unsafe struct TokenDistribution<TLanes> where TLanes : struct, ILanes<TLanes>
{
    private const float MassUnits = 17592186044416; // 2^44, as in scaled_logits.cuh

    private readonly TokenFilter<TLanes> _filter;
    private readonly float _share = 1;

    public TokenDistribution(in TokenFilter<TLanes> filter)
    {
        _filter = filter;
        float* likelihoods = stackalloc float[Lanes.Count];
        ulong total = 0;
        for (int i = 0; i < Length; i += Lanes.Count)
        {
            Probabilities(i, likelihoods);
            for (int lane = 0; lane < Lanes.Count; lane++) total += (ulong)(likelihoods[lane] * MassUnits);
        }

        _share = (float)(MassUnits / (double)total);
    }

    public int Length => _filter.Logits.Length;

    /// <summary>Of the tokens index .. index + 15; 0 behind the end. Index is a multiple of sixteen.</summary>
    public void Probabilities(int index, float* result)
    {
        TLanes logit = _filter.Logits.Load(index), score = _filter.Logits.Score(logit);
        uint left = _filter.Left(index, logit, score);
        TLanes.Store(LaneMath.Exp(score) * TLanes.Fill(_share), result);
        for (uint gone = ~left & 0xFFFF; gone != 0; gone &= gone - 1) result[BitOperations.TrailingZeroCount(gone)] = 0;
    }
}
