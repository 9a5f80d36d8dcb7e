namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    protected override void PackWeightsCore(in DeviceMatrix weights, PackedWeights packed) => Packing.Write(packed, Rounding.Round(weights, packed.Format));

    protected override void PackWordsCore(WordMatrix words, WordMatrix? up, PackedWeights packed)
    {
        Packing.WriteGroups(packed, words.Scales, up?.Scales, words.Zeros, up?.Zeros, words.Order);
        var work = new WordPanelWork(words, up, packed);
        threads.Run(ref work, work.Count);
    }
}
