namespace KernelForge.Inference;

/// <summary>What a speculative runner has done since it was made. Times are of the device.</summary>
public sealed class SpeculationCounters
{
    private readonly long[] _accepted = new long[17];

    /// <summary>Steps in which a token was drafted.</summary>
    public long Rounds { get; internal set; }

    /// <summary>Tokens drafted.</summary>
    public long Drafted { get; internal set; }

    /// <summary>Drafted tokens that were dropped after the model's first layers (<see cref="SpeculationOptions.EarlyPruning"/>).</summary>
    public long Pruned { get; internal set; }

    /// <summary>Drafted tokens that were accepted: tokens gained but for the last one of each step, which the target model added.</summary>
    public long Accepted { get; internal set; }

    /// <summary>By acceptance length, from 0: how often so many drafted tokens of a sequence were accepted in a step, counted where at least one was drafted.</summary>
    public ReadOnlySpan<long> AcceptanceLengths => _accepted;

    /// <summary>Drafted tokens accepted for a sequence in a step, on average over those for which one was drafted.</summary>
    public double MeanAcceptanceLength
    {
        get
        {
            long rows = 0, sum = 0;
            for (int length = 0; length < _accepted.Length; length++) (rows, sum) = (rows + _accepted[length], sum + length * _accepted[length]);
            return rows > 0 ? (double)sum / rows : 0;
        }
    }

    /// <summary>Bytes of keys and values that were moved because of drafts; 0 for chains.</summary>
    public long KvBytesMoved { get; internal set; }

    /// <summary>Time spent on proposing tokens.</summary>
    public TimeSpan DraftTime { get; internal set; }

    /// <summary>Time of the target model's passes, the choice of tokens included.</summary>
    public TimeSpan VerifyTime { get; internal set; }

    /// <summary>All other time of the runner's steps.</summary>
    public TimeSpan OtherTime { get; internal set; }

    /// <summary>Counts what one sequence drafted and had accepted in a step.</summary>
    internal void Count(int drafted, int accepted)
    {
        Drafted += drafted;
        Accepted += accepted;
        _accepted[accepted]++;
    }
}
