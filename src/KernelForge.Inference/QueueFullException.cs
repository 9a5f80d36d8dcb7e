namespace KernelForge.Inference;

/// <summary>A host has no room for another waiting request, and is told to reject those. The same request may be sent again later.</summary>
public sealed class QueueFullException(string message, int waiting, int limit, string? tenant) : Exception(message)
{
    /// <summary>Requests that wait: of the tenant when it is its limit, else of all.</summary>
    public int Waiting { get; } = waiting;

    /// <summary>How many may.</summary>
    public int Limit { get; } = limit;

    /// <summary>Whose limit it is; null when it is the limit of all together.</summary>
    public string? Tenant { get; } = tenant;
}
