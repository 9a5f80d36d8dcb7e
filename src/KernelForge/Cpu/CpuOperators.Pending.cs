namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    protected override void EmbedCore(DeviceSpan<int> rows, in DeviceMatrix table, in DeviceMatrix result) => throw new NotSupportedException("Embed");
    protected override void RmsNormCore(in DeviceMatrix x, in DeviceMatrix weight, float epsilon, in DeviceMatrix result) => throw new NotSupportedException("RmsNorm");
    protected override void AddRmsNormCore(in DeviceMatrix x, in DeviceMatrix residual, in DeviceMatrix weight, float epsilon, in DeviceMatrix result) => throw new NotSupportedException("AddRmsNorm");
    protected override void RopeCore(in DeviceMatrix x, DeviceSpan<int> positions, in DeviceMatrix angles) => throw new NotSupportedException("Rope");
    protected override void AppendKvCore(in DeviceMatrix keys, in DeviceMatrix values, DeviceSpan<int> slots, in KvLayer cache) => throw new NotSupportedException("AppendKv");
    protected override void AttentionCore(in DeviceMatrix queries, in KvLayer cache, in AttentionPlan plan, float scale, in DeviceMatrix result) => throw new NotSupportedException("Attention");
    protected override void SiluMulCore(in DeviceMatrix gate, in DeviceMatrix up, in DeviceMatrix result) => throw new NotSupportedException("SiluMul");
    protected override void ArgMaxCore(in DeviceMatrix logits, DeviceSpan<int> result) => throw new NotSupportedException("ArgMax");
    protected override void AdjustLogitsCore(in DeviceMatrix logits, DeviceSpan<LogitAdjustment> adjustments) => throw new NotSupportedException("AdjustLogits");
    protected override void SampleCore(in DeviceMatrix logits, DeviceSpan<SamplingRow> rows, DeviceSpan<int> result) => throw new NotSupportedException("Sample");
    protected override void LogProbsCore(in DeviceMatrix logits, DeviceSpan<int> chosen, DeviceSpan<float> chosenLogProbs, DeviceSpan<int> topTokens, DeviceSpan<float> topLogProbs) => throw new NotSupportedException("LogProbs");
}
