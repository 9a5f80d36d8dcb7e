namespace KernelForge.Inference;

/// <content>Devices with published peaks.</content>
public sealed partial record DeviceProfile
{
    /// <summary>
    /// Devices that <see cref="Named"/> knows. GPUs: dense 16-bit peak, memory rate and memory of the data sheets. What kernels reach of them: linear layers
    /// 0.8 (cuBLAS, 800 of 989 TFLOP/s on an H100), 550 of these 800 with 4-bit weights, reading weights 0.9 (3.0 of 3.35 TB/s), attention 0.53 and 0.76
    /// (520 TFLOP/s, 2.55 TB/s: what is aimed at); of an H100, taken over to the others as shares. Constants: a layer is about ten
    /// launches of 1 µs in a graph, a step 50 µs of host work; assumptions, not measurements.
    /// </summary>
    public static IReadOnlyList<DeviceProfile> Known { get; } =
    [
        Gpu("h100", 989.4e12, 3.35e12, 80_000_000_000),
        Gpu("h200", 989.4e12, 4.8e12, 141_000_000_000),
        Gpu("a100", 312e12, 2.039e12, 80_000_000_000),
        Gpu("a10", 125e12, 0.6e12, 24_000_000_000),
        new()
        {
            Name = "cpu",
            Source = "kf profile of the demo model on two cores of a server CPU, rounded; measure yours",
            MatrixFlops = 115e9,
            AttentionEfficiency = 0.8,
            MemoryBytesPerSecond = 29e9,
            MemoryBytes = 8L << 30,
            LayerSeconds = 27e-6,
            RowSeconds = 7e-6,
            Overlap = 0,
            TileTokens = 1,
        },
    ];

    private static DeviceProfile Gpu(string name, double flops, double bytesPerSecond, long memory) => new()
    {
        Name = name,
        Source = "published peaks times shares that public kernels reach or ours aim at; constants assumed",
        MatrixFlops = flops,
        MatrixEfficiency = 0.8,
        DequantisedEfficiency = 550.0 / 800,
        AttentionEfficiency = 0.53,
        MemoryBytesPerSecond = bytesPerSecond,
        MemoryEfficiency = 0.9,
        AttentionMemoryEfficiency = 0.76,
        MemoryBytes = memory,
        StepSeconds = 50e-6,
        LayerSeconds = 10e-6,
        TileTokens = 128,
    };
}
