namespace KernelForge.Inference;

/// <summary>One turn of a conversation.</summary>
/// <param name="Role">Who speaks: "system", "user" or "assistant", or another role that the template knows.</param>
/// <param name="Content">What is said.</param>
public sealed record ChatMessage(string Role, string Content);
