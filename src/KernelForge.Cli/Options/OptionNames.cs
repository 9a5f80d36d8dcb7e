using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary>Says a complaint of the engine about its options in the names of the command line.</summary>
internal static class OptionNames
{
    private static readonly (string Property, string Option)[] Names =
    [
        (Of(nameof(EngineOptions.TokenBudget)), "--token-budget"), (Of(nameof(EngineOptions.MaxSequences)), "--max-sequences"),
        (Of(nameof(EngineOptions.TimeBetweenTokens)), "--time-between-tokens"),
        (Of(nameof(EngineOptions.KvMemoryBytes)), "--kv-memory"), (Of(nameof(EngineOptions.BlockSize)), "--block-size"),
        (Of(nameof(EngineOptions.ContextLength)), "--max-context"), (Of(nameof(EngineOptions.KvType)), "--kv-type"),
        (Of(nameof(EngineOptions.ComputeType)), "--compute-type"),
        (Of(nameof(EngineOptions.Activations)), "--activations"), ($"{nameof(SpeculationOptions)}.{nameof(SpeculationOptions.DraftModel)}", "--draft"),
    ];

    /// <summary>What to tell the user about sizes that the engine refuses.</summary>
    public static CommandException Complaint(Exception error)
    {
        if (error is OverflowException) return new CommandException("The sizes that the options ask for are too large.");
        string message = error.Message;
        int suffix = message.LastIndexOf(" (Parameter ", StringComparison.Ordinal);
        if (suffix >= 0) message = message[..suffix];
        foreach ((string property, string option) in Names)
            message = message.Replace(property + " ", option + " ", StringComparison.Ordinal);
        return new CommandException(message);
    }

    private static string Of(string property) => $"{nameof(EngineOptions)}.{property}";
}
