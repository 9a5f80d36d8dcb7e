namespace KernelForge.Inference;

/// <summary>
/// Admits when the tokens known now fit, whatever may be generated later: larger batches, paid with preemptions when memory runs out.
/// </summary>
/// <param name="watermark">Share of the blocks that admission may fill, above 0 and at most 1; what is left is room for growth.</param>
public sealed class AggressiveAdmission(double watermark = 1) : IAdmissionPolicy
{
    /// <summary>Share of the blocks that admission may fill.</summary>
    public double Watermark { get; } = watermark is > 0 and <= 1
        ? watermark
        : throw new ArgumentOutOfRangeException(nameof(watermark), watermark, "Expected a share above 0 and at most 1.");

    /// <inheritdoc/>
    public IAdmission For(SchedulerOptions options) => new Sums(Watermark);

    private sealed class Sums(double watermark) : IAdmission
    {
        private long _known, _capacity;

        public void Begin(ReadOnlySpan<KvDemand> running, int capacity)
        {
            (_known, _capacity) = (0, (long)(capacity * watermark));
            foreach (ref readonly KvDemand demand in running) _known += KnownOf(demand);
        }

        public bool TryAdmit(in KvDemand candidate)
        {
            long known = KnownOf(candidate);
            if (_known + known > _capacity) return false;
            _known += known;
            return true;
        }

        private static long KnownOf(in KvDemand demand) => demand.Held + (long)demand.Known;
    }
}
