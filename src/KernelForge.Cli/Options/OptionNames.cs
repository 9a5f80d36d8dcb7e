using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary>Says a complaint of the engine about its options in the names of the command line.</summary>
internal static class OptionNames
{
    private static readonly (string Property, string Option)[] Names =
    [
        (nameof(EngineOptions.TokenBudget), "--token-budget"), (nameof(EngineOptions.MaxSequences), "--max-sequences"),
        (nameof(EngineOptions.KvMemoryBytes), "--kv-memory"), (nameof(EngineOptions.BlockSize), "--block-size"),
        (nameof(EngineOptions.ContextLength), "--max-context"), (nameof(EngineOptions.KvType), "--kv-type"),
        (nameof(EngineOptions.ComputeType), "--compute-type"),
    ];

    /// <summary>What to tell the user about sizes that the engine refuses.</summary>
    public static CommandException Complaint(Exception error)
    {
        if (error is OverflowException) return new CommandException("The sizes that the options ask for are too large.");
        string message = error.Message;
        int suffix = message.LastIndexOf(" (Parameter ", StringComparison.Ordinal);
        if (suffix >= 0) message = message[..suffix];
        foreach ((string property, string option) in Names)
            message = message.Replace($"EngineOptions.{property} ", option + " ", StringComparison.Ordinal);
        return new CommandException(message);
    }
}
