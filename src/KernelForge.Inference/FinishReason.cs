namespace KernelForge.Inference;

/// <summary>Why a sequence stopped growing.</summary>
public enum FinishReason
{
    /// <summary>The model's end token, one of the request's stop token ids, or one of its stop strings.</summary>
    Stop,

    /// <summary>The request's token limit or the model's context length.</summary>
    Length,

    /// <summary>The caller gave it up.</summary>
    Cancelled,

    /// <summary>Its deadline passed, or could not be met any more (<see cref="TimeoutPolicy"/>); what was generated until then is kept.</summary>
    TimedOut,
}
