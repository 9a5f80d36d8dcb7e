using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Arguments of gather_*; the same fields in the same order as in gather.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct GatherArgs(nint Values, nint Indices, nint Result, int Count, int Padding);

internal sealed partial class CudaOperators
{
    private const int GatherBlock = 256; // THREADS in gather.cu

    protected override void GatherCore(DeviceSpan<int> values, DeviceSpan<int> indices, DeviceSpan<int> result)
    {
        var args = new GatherArgs(values.Address, indices.Address, result.Address, indices.Length, 0);
        Kernel("gather", DType.I32).Launch(grid: CeilDiv(indices.Length, GatherBlock), block: GatherBlock, args);
    }
}
