namespace KernelForge.Inference;

/// <summary>What a caller finds at the door of a full host.</summary>
public enum WhenFull
{
    /// <summary>The caller waits for its turn, in order of arrival.</summary>
    Wait,

    /// <summary>The caller gets a <see cref="QueueFullException"/> at once.</summary>
    Reject,
}

/// <summary>How many requests may wait in an <see cref="EngineHost"/>, and what becomes of more.</summary>
public sealed record EngineHostOptions
{
    /// <summary>Most requests that wait, of all tenants together. One waits from its arrival until it starts, that is until its prompt begins to be computed.</summary>
    public int QueueCapacity { get; init; } = 1024;

    /// <summary>Most requests of one <see cref="Request.Tenant"/> that wait; null sets no limit of its own.</summary>
    public int? TenantCapacity { get; init; }

    /// <summary>What becomes of a request that finds no place.</summary>
    public WhenFull WhenFull { get; init; } = WhenFull.Wait;

    /// <summary>Throws <see cref="ArgumentException"/> naming the option that is out of range.</summary>
    public void Validate()
    {
        if (QueueCapacity < 1) throw new ArgumentException($"EngineHostOptions.QueueCapacity must be 1 or more, not {QueueCapacity}.", nameof(QueueCapacity));
        if (TenantCapacity is < 1) throw new ArgumentException($"EngineHostOptions.TenantCapacity must be null or 1 or more, not {TenantCapacity}.", nameof(TenantCapacity));
        if (!Enum.IsDefined(WhenFull)) throw new ArgumentException($"EngineHostOptions.WhenFull must be Wait or Reject, not {(int)WhenFull}.", nameof(WhenFull));
    }
}
