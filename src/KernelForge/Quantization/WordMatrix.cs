namespace KernelForge;

/// <summary>How the 32-bit words of a checkpoint hold codes, PER = 32 / bits of them, from the lowest bits up.</summary>
public enum WordOrder
{
    /// <summary>[k / PER, n]: a word holds codes that follow each other along k.</summary>
    Gptq,

    /// <summary>[n, ⌈k / PER⌉]: along k too, one output after the other.</summary>
    CompressedTensors,

    /// <summary>[k, n / 8], 4 bits: outputs 0 2 4 6 1 3 5 7 of eight.</summary>
    Awq,
}

/// <summary>
/// Quantised weights whose codes lie on a device in the words of a checkpoint, inputs in their own order. <see cref="PackedWeights.Pack(WordMatrix)"/> packs
/// them there. Scales, zero points and order are those of a <see cref="QuantizedMatrix"/>.
/// </summary>
public sealed class WordMatrix : IDisposable
{
    private readonly DeviceBuffer _words;

    /// <param name="format">What codes mean.</param>
    /// <param name="n">Outputs.</param>
    /// <param name="k">Inputs; a multiple of the group size.</param>
    /// <param name="wordOrder">Where in the words a code is.</param>
    /// <param name="words">I32, row after row; owned from now on, even when this throws.</param>
    /// <param name="scales">[n, groups].</param>
    /// <param name="zeros">[n, groups], codes that mean 0; null without zero points.</param>
    /// <param name="order">[k], which input each weight is for once they are packed; null for the order of the inputs.</param>
    /// <exception cref="ArgumentException">A length does not fit, a zero is too large, or the order is no permutation.</exception>
    public WordMatrix(WeightFormat format, int n, int k, WordOrder wordOrder, DeviceBuffer words, float[] scales, byte[]? zeros = null, int[]? order = null)
    {
        ArgumentNullException.ThrowIfNull(words);
        try
        {
            QuantizedMatrix.CheckParts("WordMatrix", format, n, k, scales, zeros, order);
            (int rows, int columns) = ShapeOf(format, n, k, wordOrder);
            Check.That(words.DType == DType.I32 && words.Length == (long)rows * columns, $"WordMatrix: {words.Length} words of {words.DType}, expected I32[{rows}, {columns}]");
            (Format, N, K, WordOrder, Scales, Zeros, Order) = (format, n, k, wordOrder, scales, zeros, order);
            (_words, WordsOfRow) = (words, columns);
        }
        catch
        {
            words.Dispose();
            throw;
        }
    }

    /// <summary>What codes mean.</summary>
    public WeightFormat Format { get; }

    /// <summary>Outputs.</summary>
    public int N { get; }

    /// <summary>Inputs.</summary>
    public int K { get; }

    /// <summary>Where in the words a code is.</summary>
    public WordOrder WordOrder { get; }

    /// <summary>[n, groups].</summary>
    public float[] Scales { get; }

    /// <summary>[n, groups], or null.</summary>
    public byte[]? Zeros { get; }

    /// <summary>[k], or null.</summary>
    public int[]? Order { get; }

    /// <summary>Where the words are.</summary>
    public Device Device => _words.Device;

    /// <summary>The code that means 0 in the only group of an output.</summary>
    internal int Zero(int output) => Zeros is null ? Format.MiddleCode : Zeros[output];

    internal nint Address => _words.Address;

    internal int WordsOfRow { get; }

    /// <summary>Rows and columns of the words of weights.</summary>
    /// <exception cref="ArgumentException">The format is not stored so, or its lengths fill no whole words.</exception>
    public static (int Rows, int Columns) ShapeOf(WeightFormat format, int n, int k, WordOrder wordOrder)
    {
        format.Check("WordMatrix", n, k);
        int perWord = 32 / format.Bits;
        Check.That(wordOrder != WordOrder.Awq || format.Bits == 4, $"WordMatrix: {format} in the order of AWQ, expected 4 bits");
        Check.That(wordOrder != WordOrder.Gptq || k % perWord == 0, $"WordMatrix: {k} inputs, expected a multiple of {perWord}, as many as a word holds");
        Check.That(wordOrder != WordOrder.Awq || n % perWord == 0, $"WordMatrix: {n} outputs, expected a multiple of {perWord}, as many as a word holds");
        return wordOrder switch
        {
            WordOrder.Gptq => (k / perWord, n),
            WordOrder.CompressedTensors => (n, (k + perWord - 1) / perWord),
            _ => (k, n / perWord),
        };
    }

    /// <summary>The same weights with one byte for a code.</summary>
    /// <exception cref="InvalidOperationException">The words are not in the memory of the CPU.</exception>
    /// <exception cref="ArgumentException">The codes are too many for an array.</exception>
    public QuantizedMatrix ToMatrix()
    {
        if (!Device.IsCpu) throw new InvalidOperationException($"WordMatrix: the words are on {Device.Name}, expected the CPU");
        return new QuantizedMatrix(Format, N, K, WordCodes.Read(this), Scales, Zeros, Order);
    }

    /// <inheritdoc/>
    public void Dispose() => _words.Dispose();
}
