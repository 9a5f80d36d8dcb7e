namespace KernelForge;

/// <summary>From the words of a checkpoint to one byte for a code, on all cores, some outputs at a time, so that what is read and written stays in the cache.</summary>
internal static unsafe class WordCodes
{
    private const int Outputs = 128;

    // Where in a word of AWQ each of eight outputs is: the inverse of 0 2 4 6 1 3 5 7.
    private static ReadOnlySpan<byte> AwqShifts => [0, 16, 4, 20, 8, 24, 12, 28];

    /// <summary>[n, k] in the order of packed weights.</summary>
    public static byte[] Read(WordMatrix matrix)
    {
        Check.That((long)matrix.N * matrix.K <= Array.MaxLength, $"WordMatrix: {matrix.N} x {matrix.K} codes, expected at most {Array.MaxLength}");
        var codes = new byte[matrix.N * matrix.K];
        int[]? positions = Positions(matrix.Order);
        Parallel.For(0, (matrix.N + Outputs - 1) / Outputs, part =>
        {
            (int first, int end) = (part * Outputs, Math.Min((part + 1) * Outputs, matrix.N));
            if (matrix.WordOrder == WordOrder.Gptq) ReadGptq(matrix, first, end, positions, codes);
            else if (matrix.WordOrder == WordOrder.Awq) ReadAwq(matrix, first, end, positions, codes);
            else ReadCompressedTensors(matrix, first, end, positions, codes);
        });
        return codes;
    }

    /// <summary>One code, by the number of its input.</summary>
    public static int Read(WordMatrix matrix, int output, int input)
    {
        int bits = matrix.Format.Bits, perWord = 32 / bits;
        uint* words = (uint*)matrix.Address;
        uint word = matrix.WordOrder switch
        {
            WordOrder.Gptq => words[(long)(input / perWord) * matrix.WordsOfRow + output] >> input % perWord * bits,
            WordOrder.Awq => words[(long)input * matrix.WordsOfRow + output / 8] >> AwqShifts[output % 8],
            _ => words[(long)output * matrix.WordsOfRow + input / perWord] >> input % perWord * bits,
        };
        return (int)word & matrix.Format.MaxCode;
    }

    private static void ReadGptq(WordMatrix matrix, int first, int end, int[]? positions, byte[] codes)
    {
        int bits = matrix.Format.Bits, perWord = 32 / bits, k = matrix.K;
        for (int row = 0; row < k / perWord; row++)
        {
            uint* words = (uint*)matrix.Address + (long)row * matrix.WordsOfRow;
            for (int output = first; output < end; output++)
                for (int i = 0; i < perWord; i++)
                    codes[output * k + At(positions, row * perWord + i)] = (byte)((words[output] >> bits * i) & matrix.Format.MaxCode);
        }
    }

    private static void ReadAwq(WordMatrix matrix, int first, int end, int[]? positions, byte[] codes)
    {
        for (int input = 0; input < matrix.K; input++)
        {
            uint* words = (uint*)matrix.Address + (long)input * matrix.WordsOfRow;
            int position = At(positions, input);
            for (int output = first; output < end; output++)
                codes[output * matrix.K + position] = (byte)((words[output / 8] >> AwqShifts[output % 8]) & 15);
        }
    }

    private static void ReadCompressedTensors(WordMatrix matrix, int first, int end, int[]? positions, byte[] codes)
    {
        int bits = matrix.Format.Bits, perWord = 32 / bits, k = matrix.K;
        for (int output = first; output < end; output++)
        {
            uint* words = (uint*)matrix.Address + (long)output * matrix.WordsOfRow;
            for (int input = 0; input < k; input++)
                codes[output * k + At(positions, input)] = (byte)((words[input / perWord] >> bits * (input % perWord)) & matrix.Format.MaxCode);
        }
    }

    private static int At(int[]? positions, int input) => positions is null ? input : positions[input];

    /// <summary>Where each input's weight is packed: the inverse of an order.</summary>
    private static int[]? Positions(int[]? order)
    {
        if (order is null) return null;
        var positions = new int[order.Length];
        for (int j = 0; j < order.Length; j++) positions[order[j]] = j;
        return positions;
    }
}
