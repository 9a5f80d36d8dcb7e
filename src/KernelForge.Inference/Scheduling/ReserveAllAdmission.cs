namespace KernelForge.Inference;

/// <summary>Admits when all could grow to their limits at once: no preemption ever, at the price of fewer running sequences.</summary>
public sealed class ReserveAllAdmission : IAdmissionPolicy
{
    /// <inheritdoc/>
    public IAdmission For(SchedulerOptions options) => new Sums();

    private sealed class Sums : IAdmission
    {
        private long _reserved, _capacity;

        public void Begin(ReadOnlySpan<KvDemand> running, int capacity)
        {
            (_reserved, _capacity) = (0, capacity);
            foreach (ref readonly KvDemand demand in running) _reserved += MostOf(demand);
        }

        public bool TryAdmit(in KvDemand candidate)
        {
            long most = MostOf(candidate);
            if (_reserved + most > _capacity) return false;
            _reserved += most;
            return true;
        }

        private static long MostOf(in KvDemand demand) => demand.Held + (long)demand.Remaining;
    }
}
