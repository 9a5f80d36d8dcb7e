namespace KernelForge.Inference;

/// <summary>Where a sequence is in its life.</summary>
public enum SequenceStatus
{
    /// <summary>Queued; holds no blocks.</summary>
    Waiting,

    /// <summary>Admitted; holds blocks and takes part in steps.</summary>
    Running,

    /// <summary>Ended; holds no blocks and never runs again.</summary>
    Finished,
}
