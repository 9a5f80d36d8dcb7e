namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    protected override void AdjustLogitsCore(in DeviceMatrix logits, DeviceSpan<LogitAdjustment> adjustments)
    {
        foreach (LogitAdjustment adjustment in adjustments.OnCpu)
        {
            Check.That((uint)adjustment.Row < (uint)logits.Rows && (uint)adjustment.Token < (uint)logits.Columns,
                $"AdjustLogits: row {adjustment.Row}, token {adjustment.Token}, logits is {logits}");
        }

        foreach (LogitAdjustment adjustment in adjustments.OnCpu)
        {
            float* logit = (float*)logits.RowAddress(adjustment.Row) + adjustment.Token;
            float scaled = *logit > 0 ? *logit / adjustment.Divisor : *logit * adjustment.Divisor;
            *logit = scaled + adjustment.Offset;
        }
    }
}
