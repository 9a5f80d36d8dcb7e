using CommunityToolkit.HighPerformance;

namespace KernelForge.Tests;

/// <summary>GPTQ against its definition, one input at a time with a matrix inverted anew for each, and against rounding to nearest.</summary>
public class GptqQuantizerTests
{
    // 160 inputs are more than a block of 128, and no multiple of it; 11 outputs are more than a strip of 8.
    private const int Inputs = 160, Outputs = 11;

    [Theory]
    [InlineData("w4g32", false)]
    [InlineData("w4g32", true)]
    [InlineData("w4g32-asym", false)]
    [InlineData("w4g32-asym", true)]
    [InlineData("w4", false)]
    [InlineData("w4-asym", true)]
    [InlineData("w8", true)]
    public void Quantize_AgreesWithTheDefinition(string name, bool activationOrder)
    {
        WeightFormat format = WeightFormat.Parse(name);
        float[,] weights = Random(1, Outputs, Inputs, 0.1), hessian = HessianOf(CorrelatedInputs(2, 400, Inputs));
        var options = new GptqOptions { ActivationOrder = activationOrder, ScaleType = DType.F16 };

        QuantizedMatrix actual = new GptqQuantizer(hessian, options).Quantize(weights, format);

        QuantizedMatrix expected = Define(weights, hessian, format, options);
        Assert.Equal(expected.Order, actual.Order);
        Assert.Equal(expected.Scales, actual.Scales);
        Assert.Equal(expected.Zeros, actual.Zeros);
        Assert.Equal(expected.Codes, actual.Codes);
        Assert.Equal(activationOrder && format.GroupSize != 0, actual.Order is not null);
    }

    // By hand, with steps of 1 and H = [[2, 1], [1, 2]]: 7.4 becomes 7, a change of d₁ = 0.4. With a change d₂ of the other weight the error is
    // 2 d₁² + 2 d₁ d₂ + 2 d₂², least at d₂ = -d₁ / 2 = -0.2: the weight should be -7.3 instead of -7.5, and becomes -7 instead of -8 (7.5 to even).
    [Fact]
    public void Quantize_TwoInputs_AsWorkedByHand()
    {
        float[,] hessian = { { 2, 1 }, { 1, 2 } }, weights = { { 7.4f, -7.5f } };

        QuantizedMatrix matrix = new GptqQuantizer(hessian, new GptqOptions { Damping = 1e-9 }).Quantize(weights, WeightFormat.W4PerChannel);

        Assert.Equal([1f], matrix.Scales); // 7.5 is half a step outside
        Assert.Equal([8 + 7, 8 - 7], matrix.Codes);
        Assert.Equal([8 + 7, 8 - 8], QuantizedMatrix.Round(weights, WeightFormat.W4PerChannel).Codes);
    }

    [Theory]
    [InlineData("w4g32", false)]
    [InlineData("w4g32", true)]
    [InlineData("w4g32-asym", true)]
    [InlineData("w4", true)]
    [InlineData("w8", false)]
    public void Quantize_CorrelatedInputs_ErrsLessThanRounding(string name, bool activationOrder)
    {
        WeightFormat format = WeightFormat.Parse(name);
        float[,] weights = Random(3, Outputs, Inputs, 0.1), inputs = CorrelatedInputs(4, 600, Inputs);
        var quantizer = new GptqQuantizer(HessianOf(inputs), new GptqOptions { ActivationOrder = activationOrder });

        double error = ErrorOf(inputs, weights, quantizer.Quantize(weights, format)), rounding = ErrorOf(inputs, weights, QuantizedMatrix.Round(weights, format));

        Assert.InRange(error, 0, 0.6 * rounding);
    }

    [Theory]
    [InlineData("w4g32")]
    [InlineData("w4-asym")]
    [InlineData("w8g128")]
    public void Quantize_DiagonalHessian_RoundsToNearest(string name)
    {
        WeightFormat format = WeightFormat.Parse(name);
        float[,] weights = Random(5, 9, 256, 1), hessian = new float[256, 256];
        for (int i = 0; i < 256; i++) hessian[i, i] = i % 7; // 0: never seen

        QuantizedMatrix actual = new GptqQuantizer(hessian).Quantize(weights, format), expected = QuantizedMatrix.Round(weights, format);

        Assert.Equal(expected.Codes, actual.Codes);
        Assert.Equal(expected.Scales, actual.Scales);
        Assert.Equal(expected.Zeros, actual.Zeros);
    }

    [Fact]
    public void Quantize_Threads_ChangeNoBit()
    {
        float[,] weights = Random(9, 40, 300, 1), hessian = HessianOf(CorrelatedInputs(10, 500, 300));

        byte[][] codes = [.. ((int[])[1, 2, 3]).Select(threads => new GptqQuantizer(hessian, new GptqOptions { Threads = threads }).Quantize(weights, WeightFormat.W4PerChannel).Codes)];

        Assert.Equal(codes[0], codes[1]);
        Assert.Equal(codes[0], codes[2]);
    }

    [Fact]
    public void Quantize_ActivationOrder_IsThatOfTheDiagonal()
    {
        float[,] hessian = new float[32, 32];
        for (int i = 0; i < 32; i++) hessian[i, i] = 1 + i % 4;

        QuantizedMatrix matrix = new GptqQuantizer(hessian, new GptqOptions { ActivationOrder = true }).Quantize(Random(6, 1, 32, 1), WeightFormat.W4Group32);

        Assert.Equal([3, 7, 11, 15, 19, 23, 27, 31, 2], matrix.Order![..9]); // equal ones stay in order
    }

    [Fact]
    public void Quantize_WeightsOfZero_AreZero()
    {
        var quantizer = new GptqQuantizer(HessianOf(CorrelatedInputs(7, 100, 64)));

        foreach (WeightFormat format in (WeightFormat[])[WeightFormat.W4Group32, new WeightFormat(4, 32, HasZeroPoints: true)])
            Assert.All(quantizer.Quantize(new float[3, 64], format).Dequantize().Cast<float>(), weight => Assert.Equal(0, weight));
    }

    [Fact]
    public void BadInput_IsRefused()
    {
        float[,] identity = new float[48, 48], indefinite = { { 1, 3 }, { 3, 1 } }, weights = new float[2, 48], infinite = new float[2, 48];
        for (int i = 0; i < 48; i++) identity[i, i] = 1;
        infinite[1, 7] = float.PositiveInfinity;
        var quantizer = new GptqQuantizer(identity);

        Refuses("the Hessian is [2, 48], expected [k, k]", () => new GptqQuantizer(weights));
        Refuses("the Hessian is not positive definite", () => new GptqQuantizer(indefinite));
        Refuses("the Hessian has NaN at [0, 0]", () => new GptqQuantizer(new float[,] { { float.NaN } }));
        Refuses("Damping must be more than 0, not 0", () => new GptqQuantizer(identity, new GptqOptions { Damping = 0 }));
        Refuses("ScaleType must be F32, F16 or BF16, not I8", () => new GptqQuantizer(identity, new GptqOptions { ScaleType = DType.I8 }));
        Refuses("weights are [2, 47] for a Hessian of 48 inputs", () => quantizer.Quantize(new float[2, 47], WeightFormat.W8PerChannel));
        Refuses("k is 48, expected a multiple of the group size 32", () => quantizer.Quantize(weights, WeightFormat.W4Group32));
        Refuses("weight [1, 7] is", () => quantizer.Quantize(infinite, WeightFormat.W8PerChannel));

        static void Refuses(string expected, Func<object> action) => Assert.Contains(expected, Assert.Throws<ArgumentException>(action).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Cancelled_Stops()
    {
        float[,] hessian = HessianOf(CorrelatedInputs(8, 100, 64));
        var cancelled = new CancellationToken(canceled: true);

        Assert.ThrowsAny<OperationCanceledException>(() => new GptqQuantizer(hessian, cancellationToken: cancelled));
        Assert.ThrowsAny<OperationCanceledException>(() => new GptqQuantizer(hessian).Quantize(new float[2, 64], WeightFormat.W8PerChannel, cancelled));
    }

    /// <summary>GPTQ as the paper derives it: the inverse of what is left of the Hessian says how the weights that are left answer an error.</summary>
    private static QuantizedMatrix Define(float[,] weights, float[,] hessian, WeightFormat format, GptqOptions options)
    {
        int n = weights.GetLength(0), k = weights.GetLength(1), size = format.GroupSize == 0 ? k : format.GroupSize, groups = k / size;
        int[] order = [.. Enumerable.Range(0, k).OrderByDescending(i => options.ActivationOrder ? hessian[i, i] : 0)];
        double damping = options.Damping * Enumerable.Range(0, k).Average(i => (double)hessian[i, i]);
        double[][] inverses = [.. Enumerable.Range(0, k).Select(j => FirstRowOfInverse(order[j..], hessian, damping))];
        byte[] codes = new byte[n * k], zeros = new byte[n * groups];
        float[] scales = new float[n * groups];
        bool keepsOrder = options.ActivationOrder && format.GroupSize != 0;
        for (int row = 0; row < n; row++)
        {
            double[] left = [.. order.Select(i => (double)weights[row, i])];
            WeightGrid grid = default;
            for (int j = 0; j < k; j++)
            {
                if (j % size == 0) grid = WeightGrid.Of([.. left[j..(j + size)].Select(value => (float)value)], format, options.ScaleType);
                (scales[row * groups + j / size], zeros[row * groups + j / size]) = (grid.Scale, (byte)grid.Zero);
                int code = grid.Code((float)left[j]);
                codes[row * k + (keepsOrder ? j : order[j])] = (byte)code;
                double error = (left[j] - grid.Value(code)) / inverses[j][0];
                for (int i = j; i < k; i++) left[i] -= error * inverses[j][i - j];
            }
        }
        return new QuantizedMatrix(format, n, k, codes, scales, format.HasZeroPoints ? zeros : null, keepsOrder ? order : null);
    }

    /// <summary>Solves H · x = (1, 0, 0, ...) for the part of H that the inputs have, by elimination.</summary>
    private static double[] FirstRowOfInverse(int[] inputs, float[,] hessian, double damping)
    {
        int k = inputs.Length;
        var rows = new double[k][];
        for (int i = 0; i < k; i++)
        {
            rows[i] = [.. inputs.Select(j => (double)hessian[inputs[i], j]), i == 0 ? 1 : 0];
            rows[i][i] += damping;
        }
        for (int pivot = 0; pivot < k; pivot++)
            for (int i = 0; i < k; i++)
            {
                double factor = i == pivot ? 0 : rows[i][pivot] / rows[pivot][pivot];
                for (int j = pivot; j <= k && factor != 0; j++) rows[i][j] -= factor * rows[pivot][j];
            }
        return [.. rows.Select((row, i) => row[k] / row[i])];
    }

    private static double ErrorOf(float[,] inputs, float[,] weights, QuantizedMatrix quantized)
    {
        float[,] values = quantized.Dequantize();
        double error = 0;
        for (int token = 0; token < inputs.GetLength(0); token++)
            for (int output = 0; output < weights.GetLength(0); output++)
            {
                double sum = 0;
                for (int i = 0; i < weights.GetLength(1); i++) sum += inputs[token, i] * ((double)weights[output, i] - values[output, i]);
                error += sum * sum;
            }
        return error;
    }

    /// <summary>Inputs with few causes and very different strengths, as activations have.</summary>
    internal static float[,] CorrelatedInputs(int seed, int tokens, int inputs)
    {
        const int Causes = 24;
        float[,] causes = Random(seed, tokens, Causes, 1), mix = Random(seed + 100, Causes, inputs, 1), noise = Random(seed + 200, tokens, inputs, 0.2);
        var result = new float[tokens, inputs];
        for (int token = 0; token < tokens; token++)
            for (int i = 0; i < inputs; i++)
            {
                float sum = noise[token, i];
                for (int cause = 0; cause < Causes; cause++) sum += causes[token, cause] * mix[cause, i];
                result[token, i] = sum * (1 + i % 5);
            }
        return result;
    }

    private static float[,] HessianOf(float[,] inputs)
    {
        using DeviceBuffer buffer = Device.Cpu.Upload<float>(inputs);
        using var hessian = new Hessian(Device.Cpu, inputs.GetLength(1));
        hessian.Add(buffer.AsMatrix(inputs.GetLength(0), inputs.GetLength(1)));
        return hessian.ToArray();
    }

    private static float[,] Random(int seed, int rows, int columns, double scale)
    {
        var random = new Random(seed);
        var result = new float[rows, columns];
        foreach (ref float value in result.AsSpan()) value = (float)((random.NextDouble() + random.NextDouble() - 1) * scale);
        return result;
    }

    private static float[] Row(float[,] matrix, int row) => [.. Enumerable.Range(0, matrix.GetLength(1)).Select(column => matrix[row, column])];
}
