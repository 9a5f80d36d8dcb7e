namespace KernelForge.Inference;

/// <summary>The table that <see cref="Operators.Rope"/> reads: cos and sin of every position's angles, computed in double precision.</summary>
internal static class RopeAngles
{
    /// <summary>F32 [positions, head_dim]: head_dim / 2 cosines, then as many sines.</summary>
    public static DeviceBuffer Create(Device device, ModelConfig config, int positions)
    {
        double[] frequencies = Frequencies(config);
        var table = new float[(long)positions * config.HeadDim];
        for (int position = 0; position < positions; position++)
        {
            Span<float> row = table.AsSpan(position * config.HeadDim, config.HeadDim);
            for (int i = 0; i < frequencies.Length; i++)
            {
                (double sin, double cos) = Math.SinCos(position * frequencies[i]);
                row[i] = (float)cos;
                row[frequencies.Length + i] = (float)sin;
            }
        }
        return device.Upload<float>(table);
    }

    /// <summary>Radians per position of every pair.</summary>
    internal static double[] Frequencies(ModelConfig config)
    {
        var frequencies = new double[config.HeadDim / 2];
        for (int i = 0; i < frequencies.Length; i++)
            frequencies[i] = Stretch(config, Math.Pow(config.RopeTheta, -2.0 * i / config.HeadDim));
        return frequencies;
    }

    private static double Stretch(ModelConfig config, double frequency) => config.RopeScaling switch
    {
        RopeScaling.Linear => frequency / config.RopeFactor,
        RopeScaling.Llama3 => StretchLlama3(config, frequency),
        _ => frequency,
    };

    private static double StretchLlama3(ModelConfig config, double frequency)
    {
        double turns = config.RopeOriginalPositions * frequency / (2 * Math.PI); // full turns within the original context
        if (turns < config.RopeLowFrequencyFactor) return frequency / config.RopeFactor;
        if (turns > config.RopeHighFrequencyFactor) return frequency;
        double smooth = (turns - config.RopeLowFrequencyFactor) / (config.RopeHighFrequencyFactor - config.RopeLowFrequencyFactor);
        return (1 - smooth) * frequency / config.RopeFactor + smooth * frequency;
    }
}
