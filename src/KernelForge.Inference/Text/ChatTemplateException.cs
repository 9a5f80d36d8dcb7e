namespace KernelForge.Inference;

/// <summary>A chat template uses a construct outside the supported subset, fails on its input, or rejects the conversation.</summary>
public sealed class ChatTemplateException(string message) : Exception(message);
