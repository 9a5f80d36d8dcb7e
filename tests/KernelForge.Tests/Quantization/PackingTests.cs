namespace KernelForge.Tests;

public class PackingTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    [DeviceTheory, MemberData(nameof(Devices.All), MemberType = typeof(Devices))]
    public void Unpack_WhatWasPacked_IsTheSame(string deviceName)
    {
        Device device = devices.Open(deviceName);
        foreach (WeightFormat format in QuantizedMatrices.Formats)
            foreach ((int n, int k) in ((int, int)[])[(1, 128), (128, 128), (130, 384), (257, 128 * 5)])
                foreach (bool hasOrder in (bool[])[false, true])
                {
                    QuantizedMatrix matrix = QuantizedMatrices.Random(format, n, k, n + k, hasOrder);
                    using PackedWeights weights = QuantizedMatrices.Pack(device, matrix);
                    Weights.AssertSame(matrix, weights.Unpack());
                }
    }

    [Theory, InlineData("w4", 1), InlineData("w4-asym", 131), InlineData("w8", 77), InlineData("w8-asym", 129), InlineData("w4g32", 96), InlineData("w8g64-asym", 192)]
    public void Pack_KThatIsNoMultipleOfATile_PadsWithZeros(string format, int k)
    {
        const int N = 133;
        QuantizedMatrix matrix = QuantizedMatrices.Random(WeightFormat.Parse(format), N, k, 1);
        using PackedWeights weights = QuantizedMatrices.Pack(Device.Cpu, matrix);

        Weights.AssertSame(matrix, weights.Unpack());
        byte[] bytes = Weights.Bytes(weights);
        PackedLayout layout = weights.Layout;
        int groupSize = layout.Format.GroupSize == 0 ? layout.Blocks * 128 : layout.Format.GroupSize;
        for (int output = 0; output < layout.Tiles * 128; output++)
            for (int j = 0; j < layout.Blocks * 128; j++)
            {
                if (output < N && j < k) continue;
                (long at, int bit) = layout.Code(output, j);
                long scale = layout.Scale(output, j / groupSize);
                int zero = layout.Format.HasZeroPoints ? bytes[layout.ZerosOffset + scale] : layout.Format.MiddleCode;
                Assert.Equal(zero, (bytes[at] >> bit) & layout.Format.MaxCode);
                if (output >= N) Assert.Equal(0, BitConverter.ToSingle(bytes, (int)(layout.ScalesOffset + scale * sizeof(float))));
            }
    }

    [Theory, InlineData("w4g128", 8, 128), InlineData("w4g32-asym", 72, 160), InlineData("w8", 136, 130), InlineData("w8g64-asym", 64, 64)]
    public void Unpack_GatedWeights_AreGatesThenUp(string format, int n, int k)
    {
        QuantizedMatrix gate = QuantizedMatrices.Random(WeightFormat.Parse(format), n, k, 1), up = QuantizedMatrices.Random(WeightFormat.Parse(format), n, k, 2);
        using PackedWeights weights = QuantizedMatrices.PackGated(Device.Cpu, gate, up);

        QuantizedMatrix both = weights.Unpack();

        Assert.Equal((2 * n, n), (weights.N, weights.ResultColumns));
        Assert.Equal([.. gate.Codes, .. up.Codes], both.Codes);
        Assert.Equal([.. gate.Scales, .. up.Scales], both.Scales);
        if (gate.Zeros is not null) Assert.Equal([.. gate.Zeros, .. up.Zeros!], both.Zeros!);
        byte[] bytes = Weights.Bytes(weights);
        (long at, int bit) = weights.Layout.Code(8, 0); // output 8 of the first 16 is the first of the up projection
        Assert.Equal(up.Codes[0], (bytes[at] >> bit) & up.Format.MaxCode);
    }

    [Theory, InlineData(4), InlineData(8)]
    public void Dequantize_EveryCodeAtExtremeScales_IsExact(int bits)
    {
        float[] scales = [float.Epsilon, 3 * float.Epsilon, 1.17549421e-38f, 1e-20f, 1, 1.2345678e30f, float.MaxValue / 256, (float)Half.Epsilon, 65504f / 15];
        var format = new WeightFormat(bits, 0, true);
        int codes = format.MaxCode + 1, n = codes * scales.Length; // an output for each zero point and scale
        var matrix = new QuantizedMatrix(
            format, n, codes, [.. Enumerable.Range(0, n).SelectMany(_ => Enumerable.Range(0, codes).Select(code => (byte)code))],
            [.. Enumerable.Range(0, n).Select(output => scales[output / codes])], [.. Enumerable.Range(0, n).Select(output => (byte)(output % codes))]);
        using PackedWeights weights = QuantizedMatrices.Pack(Device.Cpu, matrix);

        float[,] values = weights.Unpack().Dequantize();

        for (int output = 0; output < n; output++)
            for (int code = 0; code < codes; code++)
                Assert.Equal((float)((double)scales[output / codes] * (code - output % codes)), values[output, code]);
    }

    [DeviceTheory, MemberData(nameof(Devices.All), MemberType = typeof(Devices))]
    public void Pack_DenseWeightsOnTheirDevice_IsWhatTheHostPacks(string deviceName)
    {
        Device device = devices.Open(deviceName);
        using var memory = new Memory(device);
        foreach (DType type in Numbers.FloatTypes)
            foreach (WeightFormat format in QuantizedMatrices.Formats)
            {
                int n = format.GroupSize == 32 ? 130 : 7, k = format.GroupSize == 0 ? 333 : 5 * format.GroupSize;
                (DeviceMatrix weights, float[,] values) = memory.Random(new Random(n + k), type, n, k, gap: 3);
                for (int j = 0; j < k; j++) Memory.Set(weights, 1, j, values[1, j] = 0);
                Memory.Set(weights, 2, 0, values[2, 0] = 60_000);
                values[2, 0] = Memory.Read(weights)[2, 0];

                using PackedWeights packed = format.Bits == 4 ? W4Packer.Pack(weights, format) : W8Packer.Pack(weights, format);
                using PackedWeights expected = format.Bits == 4 ? W4Packer.Pack(Device.Cpu, values, format) : W8Packer.Pack(Device.Cpu, values, format);

                Assert.True(Weights.FileBytes(expected).AsSpan().SequenceEqual(Weights.FileBytes(packed)), $"{type} {format}");
            }
    }

    [DeviceTheory, MemberData(nameof(Devices.All), MemberType = typeof(Devices))]
    public void Multiply_AHostMatrix_IsTheProductWithTheDequantisedWeights(string deviceName)
    {
        float[,] matrix = Weights.Dense(1, 24, 256), x = Weights.Dense(2, 3, 256);
        for (int i = 0; i < x.Length; i++) x[i / 256, i % 256] = (float)(Half)x[i / 256, i % 256]; // what every device takes as it is

        using W4Weights weights = W4Packer.Pack(devices.Open(deviceName), matrix, WeightFormat.W4Group128);
        float[,] y = weights.Multiply(x);

        float[,] rounded = QuantizedMatrix.Round(matrix, WeightFormat.W4Group128).Dequantize();
        for (int row = 0; row < 3; row++)
            for (int column = 0; column < 24; column++)
                Assert.Equal(Enumerable.Range(0, 256).Sum(k => (double)x[row, k] * rounded[column, k]), y[row, column], 1e-4);
    }

    [Fact]
    public void Pack_WhatDoesNotFit_SaysWhy()
    {
        QuantizedMatrix four = QuantizedMatrices.Random(WeightFormat.W4Group128, 8, 128, 1), eight = QuantizedMatrices.Random(WeightFormat.W8PerChannel, 8, 128, 1);
        Assert.Contains("expected 8 bits", Assert.Throws<ArgumentException>(() => W8Packer.Pack(Device.Cpu, four)).Message);
        Assert.Contains("expected the same", Assert.Throws<ArgumentException>(() => W4Packer.PackGated(Device.Cpu, four, eight)).Message);
        Assert.Contains("different orders", Assert.Throws<ArgumentException>(
            () => W4Packer.PackGated(Device.Cpu, four, QuantizedMatrices.Random(WeightFormat.W4Group128, 8, 128, 1, hasOrder: true))).Message);
        Assert.Contains("multiple of the group size 128", Assert.Throws<ArgumentException>(() => W4Packer.Pack(Device.Cpu, new float[8, 100], WeightFormat.W4Group128)).Message);
        Assert.Contains("groups of 48", Assert.Throws<ArgumentException>(() => W4Packer.Pack(Device.Cpu, new float[8, 96], new WeightFormat(4, 48))).Message);
        Assert.Contains("at least one output", Assert.Throws<ArgumentException>(() => W4Packer.Pack(Device.Cpu, new float[0, 128], WeightFormat.W4Group128)).Message);
    }
}
