namespace KernelForge.Cli;

/// <summary>A command cannot go on. The message is one sentence for the user.</summary>
internal sealed class CommandException(string message) : Exception(message);
