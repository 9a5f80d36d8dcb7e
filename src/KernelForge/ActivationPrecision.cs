namespace KernelForge;

/// <summary>What a matrix product rounds its x to before it multiplies. Sums, scales and everything else stay F32.</summary>
public enum ActivationPrecision
{
    /// <summary>Nothing: x is taken as it is.</summary>
    Full,

    /// <summary>BF16, to nearest even. No difference where x is BF16 already.</summary>
    BF16,

    /// <summary>
    /// 8-bit whole numbers, one scale for each 128 of a row: x ≈ scale · q with scale = largest magnitude / 127. For packed weights; products of whole numbers are
    /// exact, so that nothing but the rounding of x and of the sums of groups is lost.
    /// </summary>
    Int8,
}
