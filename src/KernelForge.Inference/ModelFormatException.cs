namespace KernelForge.Inference;

/// <summary>
/// A model folder that cannot be used: a file is missing, damaged or of a kind that is not supported. The message is one sentence for the user.
/// </summary>
public sealed class ModelFormatException : Exception
{
    /// <inheritdoc cref="ModelFormatException"/>
    public ModelFormatException(string message) : base(message)
    {
    }

    /// <inheritdoc cref="ModelFormatException"/>
    public ModelFormatException(string message, Exception inner) : base(message, inner)
    {
    }
}
