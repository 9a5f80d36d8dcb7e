namespace KernelForge.Inference;

/// <summary>A request that could not be finished even with the whole machine to itself.</summary>
public sealed class RequestTooLongException : ArgumentException
{
    internal RequestTooLongException(string message, int tokens, int limit) : base(message) => (Tokens, Limit) = (tokens, limit);

    /// <summary>Tokens the request needs room for.</summary>
    public int Tokens { get; }

    /// <summary>Tokens there is room for.</summary>
    public int Limit { get; }
}
