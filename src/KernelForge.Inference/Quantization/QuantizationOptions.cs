namespace KernelForge.Inference;

/// <summary>How codes are chosen.</summary>
public enum CodeChoice
{
    /// <summary>Each weight becomes the nearest value of its group. Needs no calibration.</summary>
    RoundToNearest,

    /// <summary>GPTQ, arXiv:2210.17323: outputs for calibration texts change as little as possible.</summary>
    Gptq,
}

/// <summary>What <see cref="ModelQuantizer"/> is to make.</summary>
public sealed record QuantizationOptions
{
    /// <summary>What codes mean.</summary>
    public WeightFormat Format { get; init; } = WeightFormat.W4Group128;

    /// <summary>How codes are chosen.</summary>
    public CodeChoice Choice { get; init; }

    /// <summary>GPTQ: see <see cref="GptqOptions.Damping"/>.</summary>
    public float Damping { get; init; } = 0.01f;

    /// <summary>GPTQ: see <see cref="GptqOptions.ActivationOrder"/>.</summary>
    public bool ActivationOrder { get; init; }

    /// <summary>GPTQ: most calibration tokens; texts after them are not used. Their hidden states are held in memory.</summary>
    public int CalibrationTokens { get; init; } = 65_536;

    /// <summary>GPTQ: most tokens of a calibration text, the rest of it is not used.</summary>
    public int CalibrationLength { get; init; } = 2048;

    /// <summary>GPTQ: type of activations while calibrating; null as in <see cref="EngineOptions.ComputeType"/>.</summary>
    public DType? ComputeType { get; init; }

    /// <summary>Threads that choose codes; 0 for one per core. Changes no bit.</summary>
    public int Threads { get; init; }

    /// <exception cref="ArgumentException">An option is out of range; says which.</exception>
    public void Validate()
    {
        if (!(Damping > 0 && float.IsFinite(Damping))) throw new ArgumentException($"QuantizationOptions.Damping must be more than 0, not {Damping}.");
        if (CalibrationTokens < 1) throw new ArgumentException($"QuantizationOptions.CalibrationTokens must be 1 or more, not {CalibrationTokens}.");
        if (CalibrationLength < 1) throw new ArgumentException($"QuantizationOptions.CalibrationLength must be 1 or more, not {CalibrationLength}.");
        if (Threads < 0) throw new ArgumentException($"QuantizationOptions.Threads must be 0 or more, not {Threads}.");
    }
}

/// <summary>How far a model is.</summary>
/// <param name="Layer">The layer at work, from 0; <paramref name="Layers"/> when all are done.</param>
/// <param name="Layers">Of the model.</param>
/// <param name="Work">What is being done, for people.</param>
public readonly record struct QuantizationProgress(int Layer, int Layers, string Work);

/// <summary>What was made.</summary>
/// <param name="BytesBefore">Of the model's tensors.</param>
/// <param name="BytesAfter">Of the tensors that were written.</param>
/// <param name="Layers">Of the model.</param>
/// <param name="LayersFound">Those that were there from an earlier attempt; the errors below are not theirs.</param>
/// <param name="CalibrationTokens">That were used.</param>
/// <param name="WeightError">Mean over matrices of ‖W − Q‖ / ‖W‖.</param>
/// <param name="OutputError">GPTQ: mean over matrices of ‖x · (W − Q)ᵀ‖ / ‖x · Wᵀ‖ over calibration tokens, of up to 64 outputs each.</param>
/// <param name="RoundingOutputError">GPTQ: the same if each weight were rounded to nearest.</param>
public sealed record QuantizationSummary(
    long BytesBefore, long BytesAfter, int Layers, int LayersFound, long CalibrationTokens, double WeightError, double? OutputError, double? RoundingOutputError);
