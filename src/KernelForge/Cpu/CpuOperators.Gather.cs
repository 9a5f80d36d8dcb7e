namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    protected override void GatherCore(DeviceSpan<int> values, DeviceSpan<int> indices, DeviceSpan<int> result)
    {
        ReadOnlySpan<int> from = values.OnCpu, where = indices.OnCpu;
        Span<int> to = result.OnCpu;
        for (int i = 0; i < where.Length; i++)
        {
            Check.That(where[i] < from.Length, $"Gather: index {where[i]}, there are {from.Length} values");
            if (where[i] >= 0) to[i] = from[where[i]];
        }
    }
}
