using System.Runtime.InteropServices;

namespace KernelForge.Inference;

/// <summary>
/// Start-time fair queueing over <see cref="Request.Tenant"/>s (Goyal, Vin and Cheng 1996): while several of them wait, each gets tokens in proportion to its
/// weight, however many requests it sends. Of one scheduler only: it keeps what each tenant has had.
/// </summary>
/// <remarks>
/// A request starts at the later of the common virtual time and the end of its tenant's request before; it ends length / weight later. Who starts first goes
/// first. The virtual time is the start of the latest one that went, and moves on by what is served, so that new tenants without end do not keep an old one
/// waiting. Between two tenants that wait all the time the tokens served per weight differ by at most the longest request of each per weight. A request's
/// length is its prompt and its token limit, or what it is expected to generate.
/// </remarks>
/// <param name="weights">Shares of tenants; 1 for those not named.</param>
public sealed class FairOrder(IReadOnlyDictionary<string, double>? weights = null) : IQueueOrder
{
    private const double UnitsPerToken = 64; // of keys, which are whole numbers
    private const int FewestTenants = 64;

    private readonly Dictionary<string, double> _weights = Checked(weights);
    private readonly Dictionary<string, double> _ends = []; // tokens per weight
    private double _now, _totalWeight, _longest;
    private int _mostTenants = FewestTenants;

    /// <summary>Tenants that it keeps a number for.</summary>
    internal int Tenants => _ends.Count;

    /// <summary>Books the request for its tenant: once for each sequence, in order of arrival.</summary>
    public long KeyOf(in QueueEntry entry)
    {
        if (_ends.Count >= _mostTenants) ForgetIdle();
        double weight = WeightOf(entry.Tenant);
        ref double end = ref CollectionsMarshal.GetValueRefOrAddDefault(_ends, entry.Tenant, out bool known);
        if (!known) _totalWeight += weight;
        double start = Math.Max(_now, end), length = LengthOf(entry);
        end = start + length / weight;
        _longest = Math.Max(_longest, length);
        return (long)(UnitsPerToken * start);
    }

    /// <inheritdoc/>
    public void Started(in QueueEntry entry, long key) => _now = Math.Max(_now, key / UnitsPerToken) + LengthOf(entry) / Math.Max(_totalWeight, WeightOf(entry.Tenant));

    /// <summary>Drops tenants that are ahead of the virtual time by no more than a request: they are nearly like new ones. Only where there are many.</summary>
    private void ForgetIdle()
    {
        foreach ((string tenant, double end) in _ends)
        {
            double weight = WeightOf(tenant);
            if (end > _now + _longest / weight) continue;
            _ends.Remove(tenant);
            _totalWeight -= weight;
        }
        _mostTenants = Math.Max(FewestTenants, _ends.Count * 3 / 2);
    }

    private double WeightOf(string tenant) => _weights.GetValueOrDefault(tenant, 1);

    private static double LengthOf(in QueueEntry entry) => entry.PromptLength + (double)Math.Min(entry.MaxTokens, entry.ExpectedTokens ?? int.MaxValue);

    private static Dictionary<string, double> Checked(IReadOnlyDictionary<string, double>? weights)
    {
        foreach ((string tenant, double weight) in weights ?? new Dictionary<string, double>())
        {
            if (!(weight > 0) || double.IsInfinity(weight)) throw new ArgumentException($"The weight of tenant '{tenant}' must be more than 0, not {weight}.", nameof(weights));
        }
        return weights is null ? [] : new Dictionary<string, double>(weights);
    }
}
