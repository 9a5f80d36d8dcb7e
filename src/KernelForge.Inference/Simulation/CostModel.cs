using System.Numerics;

namespace KernelForge.Inference;

/// <summary>
/// How long a step takes on a device: a roofline of the linear layers, attention and the output projection, with constants for the step and its layers.
/// </summary>
/// <remarks>
/// seconds = step + layers · layer + linear + attention + logits + rows · row, where each part is the longer one of its arithmetic and its memory traffic
/// (Efficiently Scaling Transformer Inference, arXiv:2211.05102), plus what <see cref="DeviceProfile.Overlap"/> leaves of the shorter one:
/// linear: 2 · weights · tokens, tokens rounded up to tiles (Sarathi-Serve, arXiv:2403.02310), against the bytes of the weights;
/// attention: 4 · layers · query heads · head size · attended positions against the bytes of the positions read (Hydragen, arXiv:2402.05099): a common
/// prefix once, earlier chunks of a prompt again;
/// logits: 2 · vocabulary · hidden size · rows against the bytes of the output projection.
/// A pass of a draft model costs what a step of that model costs for its query tokens, its attention left out.
/// </remarks>
/// <param name="device">Rates and constants.</param>
/// <param name="model">The model.</param>
public sealed class CostModel(DeviceProfile device, ModelShape model) : IStepTimeModel
{
    /// <summary>Rates and constants.</summary>
    public DeviceProfile Device { get; } = device;

    /// <summary>The model.</summary>
    public ModelShape Model { get; } = model;

    /// <summary>The model that drafts; null where drafts cost nothing (n-grams).</summary>
    public ModelShape? Draft { get; init; }

    /// <summary>Seconds that a step of this shape takes; 0 for one that computes nothing.</summary>
    public double SecondsOf(in StepShape shape)
    {
        if (shape.Tokens == 0) return 0;
        double seconds = Fixed(Model) + LinearSeconds(Model, shape.Tokens) + AttentionSeconds(shape.AttendedPositions, shape.ReadPositions)
            + LogitSeconds(Model, shape.LogitRows);
        return seconds + DraftSeconds(shape.DraftPasses, shape.DraftTokens);
    }

    /// <inheritdoc/>
    public double SecondsOf(in StepLoad load) => SecondsOf(StepShape.Of(load));

    /// <summary>KV blocks that fit beside a model: a share of the device's memory, 0.9 as vLLM takes, less the weights.</summary>
    /// <exception cref="ArgumentException">Not one block fits; says what is needed and what there is.</exception>
    public static int KvBlocksOf(DeviceProfile device, ModelShape model, int blockSize, double memoryShare = 0.9)
    {
        double room = device.MemoryBytes * memoryShare - model.WeightBytes;
        double blocks = Math.Floor(room / ((double)model.KvBytesPerToken * blockSize));
        if (blocks >= 1) return (int)Math.Min(blocks, int.MaxValue / blockSize);
        throw new ArgumentException(
            $"{model.Name} needs {model.WeightBytes} bytes for weights and {model.KvBytesPerToken * blockSize} for a block of keys and values; "
            + $"{device.Name} has {device.MemoryBytes}, of which {100 * memoryShare:0} % are used.");
    }

    private double Fixed(ModelShape model) => Device.StepSeconds + model.Layers * Device.LayerSeconds;

    private double LinearSeconds(ModelShape model, int tokens)
    {
        double flops = Device.MatrixFlops * Device.MatrixEfficiency * (model.IsQuantised ? Device.DequantisedEfficiency : 1);
        return Roofline(model.FlopsPerToken * Rounded(tokens) / flops, Uncached(model, model.LinearBytes) / WeightRate);
    }

    private double AttentionSeconds(long attended, long read) => Roofline(
        Model.FlopsPerAttendedPosition * attended / (Device.MatrixFlops * Device.AttentionEfficiency),
        (double)Model.KvBytesPerToken * read / KvRate);

    private double LogitSeconds(ModelShape model, int rows)
    {
        if (rows == 0) return 0;
        double flops = Device.MatrixFlops * Device.MatrixEfficiency;
        return rows * Device.RowSeconds + Roofline(model.FlopsPerLogitRow * Rounded(rows) / flops, Uncached(model, model.HeadBytes) / WeightRate);
    }

    private double DraftSeconds(int passes, int tokens)
    {
        if (Draft is null || passes == 0) return 0;
        int perPass = (tokens + passes - 1) / passes;
        return passes * (Fixed(Draft) + LinearSeconds(Draft, perPass) + LogitSeconds(Draft, perPass));
    }

    /// <summary>Bytes of weights read per second.</summary>
    internal double WeightRate => Device.MemoryBytesPerSecond * Device.MemoryEfficiency;

    /// <summary>Bytes of keys and values read per second.</summary>
    internal double KvRate => Device.MemoryBytesPerSecond * Device.AttentionMemoryEfficiency;

    private long Uncached(ModelShape model, long bytes) => model.WeightBytes <= Device.CacheBytes ? 0 : bytes;

    /// <summary>Tokens that are computed for so many: kernels have narrow tiles of powers of two, and wide ones.</summary>
    internal int Rounded(int tokens)
    {
        int tile = Device.TileTokens;
        return tokens < tile ? (int)BitOperations.RoundUpToPowerOf2((uint)tokens) : (tokens + tile - 1) / tile * tile;
    }

    private double Roofline(double arithmetic, double traffic) =>
        Math.Max(arithmetic, traffic) + (1 - Device.Overlap) * Math.Min(arithmetic, traffic);
}
