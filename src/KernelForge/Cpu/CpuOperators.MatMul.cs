namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    protected override void MatMulCore(in DeviceMatrix x, in DeviceMatrix weights, in DeviceMatrix result, in DeviceMatrix bias) => throw new NotSupportedException($"MatMul {threads.Count} {instructionSet}");
}
