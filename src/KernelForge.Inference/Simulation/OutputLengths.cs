namespace KernelForge.Inference;

/// <summary>What a simulated scheduler is told about the lengths of answers before they end.</summary>
public enum OutputLengths
{
    /// <summary>Nothing: it has a history of answers that ended, if its policy keeps one, and the requests' limits.</summary>
    History,

    /// <summary>The exact length (<see cref="Request.ExpectedTokens"/>).</summary>
    Oracle,

    /// <summary>The limit, as if every answer reached it.</summary>
    Limit,
}
