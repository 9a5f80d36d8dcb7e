using CommunityToolkit.HighPerformance;

namespace KernelForge.Tests;

public class RoundingTests
{
    [Fact]
    public void Round_AnyFormat_LosesHalfAStepAtMost()
    {
        float[,] weights = Weights.Dense(1, 5, 256);
        foreach (WeightFormat format in QuantizedMatrices.Formats)
        {
            QuantizedMatrix matrix = QuantizedMatrix.Round(weights, format);
            float[,] values = matrix.Dequantize();
            int groups = format.Groups(256), groupSize = 256 / groups;
            for (int n = 0; n < 5; n++)
                for (int k = 0; k < 256; k++)
                {
                    // The largest weight may be half a step beyond the last code; a zero point is rounded too.
                    double step = matrix.Scales[n * groups + k / groupSize], most = format.HasZeroPoints ? 1.001 : 0.5001;
                    Assert.InRange(Math.Abs(values[n, k] - weights[n, k]), 0, most * step);
                }
        }
    }

    [Theory]
    [InlineData("w4", new[] { -7.5f, 7.5f, 0.4f, 0.5f, 1.5f, -0.6f }, 1f, new[] { 0, 15, 8, 8, 10, 7 }, 8)]
    [InlineData("w8", new[] { -127.5f, 127.5f, 0.4f, 2.5f, -3.5f, 1 }, 1f, new[] { 0, 255, 128, 130, 124, 129 }, 128)]
    [InlineData("w4-asym", new[] { -5f, 10, 0.5f, 1.5f, 0, -0.6f }, 1f, new[] { 0, 15, 5, 7, 5, 4 }, 5)]
    [InlineData("w4-asym", new[] { 3f, 15, 6, 6, 6, 6 }, 1f, new[] { 3, 15, 6, 6, 6, 6 }, 0)] // 0 is in the range always
    [InlineData("w8-asym", new[] { -255f, -1, 0, 0, 0, 0 }, 1f, new[] { 0, 254, 255, 255, 255, 255 }, 255)]
    public void Round_ByHand_IsWhatCompressedTensorsComputes(string format, float[] weights, float scale, int[] codes, int zero)
    {
        QuantizedMatrix matrix = QuantizedMatrix.Round(new ReadOnlySpan2D<float>(weights, 1, weights.Length), WeightFormat.Parse(format));

        Assert.Equal([scale], matrix.Scales);
        Assert.Equal(codes, matrix.Codes.Select(code => (int)code));
        Assert.Equal(zero, matrix.Zero(0, 0));
    }

    [Fact]
    public void Round_AGroupOfZeros_StaysZero()
    {
        foreach (WeightFormat format in QuantizedMatrices.Formats)
        {
            QuantizedMatrix matrix = QuantizedMatrix.Round(new float[2, 128], format);
            Assert.All(matrix.Scales, scale => Assert.Equal(0, scale));
            Assert.All(matrix.Codes, code => Assert.Equal(matrix.Zero(0, 0), code));
        }
    }

    [Fact]
    public void Round_ExtremeWeights_StayFinite()
    {
        foreach (WeightFormat format in QuantizedMatrices.Formats)
            foreach (float size in (float[])[float.MaxValue / 2, 1e-37f])
            {
                var weights = new float[1, 128];
                (weights[0, 0], weights[0, 1]) = (size, -size);
                float[,] values = QuantizedMatrix.Round(weights, format).Dequantize();
                Assert.Equal(size, values[0, 0], 0.08f * size);
                Assert.Equal(-size, values[0, 1], 0.08f * size);
            }
    }

    [Theory, InlineData(DType.F16), InlineData(DType.BF16)]
    public void Round_WithAScaleType_ChoosesCodesForTheRoundedScale(DType type)
    {
        float[,] weights = Weights.Dense(3, 4, 64);
        QuantizedMatrix matrix = QuantizedMatrix.Round(weights, WeightFormat.W4Group64, type);
        for (int n = 0; n < 4; n++)
        {
            float scale = matrix.Scales[n];
            Assert.Equal(scale, type == DType.F16 ? (float)(Half)scale : (BFloat16)scale);
            for (int k = 0; k < 64; k++) Assert.Equal(Math.Clamp(Math.Round(weights[n, k] / scale) + 8, 0, 15), matrix.Codes[n * 64 + k]);
        }
        var large = new float[1, 64];
        large[0, 0] = 1e38f;
        Assert.True(float.IsFinite(QuantizedMatrix.Round(large, WeightFormat.W4Group64, type).Scales[0]));
    }

    [Fact]
    public void Round_NarrowTypesAndPartsOfAMatrix_AreTheirValues()
    {
        float[,] all = Weights.Dense(4, 6, 200);
        var half = new Half[6, 200];
        var brain = new BFloat16[6, 200];
        for (int i = 0; i < 6; i++)
            for (int j = 0; j < 200; j++) (half[i, j], brain[i, j]) = ((Half)all[i, j], (BFloat16)all[i, j]);

        Weights.AssertSame(RoundedValues((i, j) => (float)half[i, j]), QuantizedMatrix.Round<Half>(new ReadOnlySpan2D<Half>(half).Slice(1, 3, 4, 128), WeightFormat.W4Group64));
        Weights.AssertSame(RoundedValues((i, j) => brain[i, j]), QuantizedMatrix.Round<BFloat16>(new ReadOnlySpan2D<BFloat16>(brain).Slice(1, 3, 4, 128), WeightFormat.W4Group64));
        Weights.AssertSame(RoundedValues((i, j) => all[i, j]), QuantizedMatrix.Round(new ReadOnlySpan2D<float>(all).Slice(1, 3, 4, 128), WeightFormat.W4Group64));

        static QuantizedMatrix RoundedValues(Func<int, int, float> value)
        {
            var part = new float[4, 128];
            for (int i = 0; i < 4; i++)
                for (int j = 0; j < 128; j++) part[i, j] = value(i + 1, j + 3);
            return QuantizedMatrix.Round(part, WeightFormat.W4Group64);
        }
    }

    [Theory, InlineData(float.NaN), InlineData(float.PositiveInfinity), InlineData(float.NegativeInfinity)]
    public void Round_AWeightThatIsNotFinite_IsRefused(float weight)
    {
        foreach (WeightFormat format in QuantizedMatrices.Formats)
        {
            var weights = new float[2, 128];
            weights[1, 77] = weight;
            Assert.Contains("not finite", Assert.ThrowsAny<ArgumentException>(() => QuantizedMatrix.Round(weights, format)).Message);
        }
    }
}
