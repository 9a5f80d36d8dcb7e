namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    protected override void PackWeightsCore(in DeviceMatrix weights, PackedWeights packed) => Packing.Write(packed, Rounding.Round(weights, packed.Format));

    protected override void PackWordsCore(WordMatrix words, WordMatrix? up, PackedWeights packed) => Packing.Write(packed, words.ToMatrix(), up?.ToMatrix());
}
