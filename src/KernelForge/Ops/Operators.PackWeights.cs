namespace KernelForge;

public abstract partial class Operators
{
    /// <summary>
    /// Rounds dense weights to the nearest of the values that the packed ones can have, each group on the grid that spans it (<see cref="WeightGrid"/>), and packs
    /// them. The same bits on every device. Weights must be finite, which a GPU does not check. What <see cref="W4Packer"/> and <see cref="W8Packer"/> do for users.
    /// </summary>
    /// <param name="weights">[n, k].</param>
    /// <param name="packed">Of the same shape, neither gated nor with an order; every byte but padding between sections is written.</param>
    internal void PackWeights(in DeviceMatrix weights, PackedWeights packed)
    {
        CheckHere("PackWeights", packed.Device, isEmpty: false);
        CheckFloat("PackWeights", "weights", weights, packed.N, packed.K);
        Check.That(!packed.IsGated && !packed.HasOrder, $"PackWeights: {packed} with an order or gated, expected neither");
        PackWeightsCore(weights, packed);
    }

    /// <summary>Computes <see cref="PackWeights"/> on checked arguments.</summary>
    protected abstract void PackWeightsCore(in DeviceMatrix weights, PackedWeights packed);

    /// <summary>Packs weights whose codes are in the words of a checkpoint, two matrices as gated weights. What <see cref="PackedWeights.Pack(WordMatrix)"/> does for users.</summary>
    internal void PackWords(WordMatrix words, WordMatrix? up, PackedWeights packed)
    {
        CheckHere("PackWords", words.Device, isEmpty: false);
        CheckHere("PackWords", up?.Device ?? words.Device, isEmpty: false);
        CheckHere("PackWords", packed.Device, isEmpty: false);
        Check.That(up is null || up.WordOrder == words.WordOrder, $"PackWords: gate in the order of {words.WordOrder}, up of {up?.WordOrder}; expected the same");
        PackWordsCore(words, up, packed);
    }

    /// <summary>Computes <see cref="PackWords"/> on checked arguments.</summary>
    protected abstract void PackWordsCore(WordMatrix words, WordMatrix? up, PackedWeights packed);
}
