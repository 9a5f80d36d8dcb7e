namespace KernelForge;

/// <summary>
/// The seed with which drafts of a sequence are drawn where <see cref="Operators.RejectDrafts"/> verifies them: their noise is independent of the target's. Where
/// drafts must equal what <see cref="Operators.Sample"/> draws they are drawn with the seed of the sequence itself, whose noise makes both choose alike.
/// </summary>
public static class DraftSeed
{
    /// <summary>A seed for drafts, another one for each seed of a sequence: the mixer of SplitMix64 (Steele et al., OOPSLA 2014), which is a bijection.</summary>
    public static ulong Of(ulong seed)
    {
        ulong mixed = seed ^ 0xD1B54A32D192ED03; // not a step of the seeds of samples, which are SplitMix64 too
        mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9;
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB;
        return mixed ^ (mixed >> 31);
    }
}
