namespace KernelForge.Tests;

public class StoredFormatTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private const string Module = "model.layers.0.mlp.down_proj";

    public static TheoryData<QuantizationMethod, string, bool> Cases
    {
        get
        {
            var data = new TheoryData<QuantizationMethod, string, bool>();
            foreach (QuantizationMethod method in Enum.GetValues<QuantizationMethod>())
                foreach (WeightFormat format in QuantizedMatrices.Formats)
                    foreach (bool hasOrder in (bool[])[false, true])
                    {
                        bool exists = method != QuantizationMethod.Awq || (format is { Bits: 4, HasZeroPoints: true } && !hasOrder);
                        if (exists && !(hasOrder && format.GroupSize == 0)) data.Add(method, format.ToString(), hasOrder); // without groups there is nothing to order
                    }
            return data;
        }
    }

    [Theory, MemberData(nameof(Cases))]
    public void Read_WhatOtherToolsStore_IsTheSameToTheLastCode(QuantizationMethod method, string format, bool hasOrder)
    {
        foreach ((int n, int k) in ((int, int)[])[(8, 128), (136, 256), (264, 640)])
        {
            QuantizedMatrix matrix = Stored(method, format, n, k, hasOrder);
            using var folder = new SafetensorsFolder(StoredWeights.Tensors(method, Module, matrix));

            Weights.AssertSame(matrix, Read(new(method, matrix.Format), folder.Checkpoint, Module, n, k));
        }
    }

    [DeviceTheory, MemberData(nameof(Devices.All), MemberType = typeof(Devices))]
    public void Pack_TheWordsOfAFileOnTheirDevice_IsWhatTheHostPacks(string deviceName)
    {
        Device device = devices.Open(deviceName);
        foreach (object[] row in Cases)
        {
            (var method, var format, bool hasOrder) = ((QuantizationMethod)row[0], (string)row[1], (bool)row[2]);
            (int n, int k) = format.EndsWith("32", StringComparison.Ordinal) ? (136, 160) : (24, 256);
            QuantizedMatrix matrix = Stored(method, format, n, k, hasOrder);
            using var folder = new SafetensorsFolder(StoredWeights.Tensors(method, Module, matrix));
            using WordMatrix words = new QuantizationConfig(method, matrix.Format).Read(folder.Checkpoint, Module, n, k, device);

            using PackedWeights packed = PackedWeights.Pack(words), expected = PackedWeights.Pack(Device.Cpu, matrix);
            using PackedWeights gated = PackedWeights.PackGated(words, words), expectedGated = PackedWeights.PackGated(Device.Cpu, matrix, matrix);

            Assert.Equal(expected.Header, packed.Header);
            Assert.True(Weights.FileBytes(expected).AsSpan().SequenceEqual(Weights.FileBytes(packed)), $"{method} {format} {hasOrder}");
            Assert.True(Weights.FileBytes(expectedGated).AsSpan().SequenceEqual(Weights.FileBytes(gated)), $"{method} {format} {hasOrder} gated");
        }
    }

    [Fact]
    public void WordMatrix_WordsThatDoNotFit_AreRefusedAndFreed()
    {
        Device device = devices.Open("cpu-Scalar");
        var scales = new float[8];
        DeviceBuffer Words(int count) => device.Allocate(DType.I32, count);
        Assert.Contains("expected I32[16, 8]", Assert.Throws<ArgumentException>(() => new WordMatrix(WeightFormat.W4Group128, 8, 128, WordOrder.Gptq, Words(127), scales)).Message);
        Assert.Contains("expected 4 bits", Assert.Throws<ArgumentException>(() => new WordMatrix(WeightFormat.W8Group128, 8, 128, WordOrder.Awq, Words(256), scales)).Message);
        Assert.Contains("0 scales", Assert.Throws<ArgumentException>(() => new WordMatrix(WeightFormat.W4Group128, 8, 128, WordOrder.Gptq, Words(128), [])).Message);
        Assert.Equal(0, device.AllocatedBytes);
        using var gptq = new WordMatrix(WeightFormat.W4Group128, 8, 128, WordOrder.Gptq, Words(128), scales);
        using var awq = new WordMatrix(WeightFormat.W4Group128, 8, 128, WordOrder.Awq, Words(128), scales);
        Assert.Contains("expected the same", Assert.Throws<ArgumentException>(() => PackedWeights.PackGated(gptq, awq)).Message);
    }

    [Theory, MemberData(nameof(Cases))]
    public void Write_CompressedTensors_IsWhatOtherToolsStoreAndReadsBack(QuantizationMethod method, string format, bool hasOrder)
    {
        if (method != QuantizationMethod.CompressedTensors) return;
        QuantizedMatrix matrix = Stored(method, format, 136, 256, hasOrder);

        IReadOnlyList<NamedTensor> written = CompressedTensorsWriter.Tensors(Module, matrix, DType.F16);

        List<NamedTensor> expected = StoredWeights.Tensors(method, Module, matrix);
        Assert.Equal(expected.Select(tensor => tensor.Name), written.Select(tensor => tensor.Name));
        foreach ((NamedTensor one, NamedTensor other) in expected.Zip(written))
        {
            Assert.Equal((one.Type, string.Join(',', one.Shape)), (other.Type, string.Join(',', other.Shape)));
            Assert.True(one.Bytes.Span.SequenceEqual(other.Bytes.Span), one.Name);
        }
        using var folder = new SafetensorsFolder(written);
        Weights.AssertSame(matrix, Read(new(method, matrix.Format), folder.Checkpoint, Module, 136, 256));
    }

    [Theory, InlineData("w4", 1, 9), InlineData("w4-asym", 130, 77), InlineData("w8", 5, 3), InlineData("w8-asym", 7, 130)]
    public void Write_LengthsThatFillNoWord_ReadBack(string format, int n, int k)
    {
        QuantizedMatrix matrix = Stored(QuantizationMethod.CompressedTensors, format, n, k, hasOrder: false);
        using var folder = new SafetensorsFolder(CompressedTensorsWriter.Tensors(Module, matrix, DType.F32));
        Weights.AssertSame(matrix, Read(new(QuantizationMethod.CompressedTensors, matrix.Format), folder.Checkpoint, Module, n, k));
    }

    [Fact]
    public void Write_ScalesThatTheirTypeDoesNotHold_AreRefused()
    {
        QuantizedMatrix matrix = QuantizedMatrices.Random(WeightFormat.W4Group128, 8, 128, 1);
        Assert.Contains("not values of F16", Assert.Throws<ArgumentException>(() => CompressedTensorsWriter.Tensors(Module, matrix, DType.F16)).Message);
    }

    [Theory, InlineData(4, 0x11111111u), InlineData(8, 0x01010101u)]
    public void Read_GptqVersion1WithAZeroPointOf0_UndoesTheBorrow(int bits, uint one)
    {
        QuantizedMatrix random = Stored(QuantizationMethod.GptqV2, new WeightFormat(bits, 32, true).ToString(), 16, 64, hasOrder: false);
        var matrix = new QuantizedMatrix(random.Format, 16, 64, random.Codes, random.Scales, [.. random.Zeros!.Select((zero, i) => (byte)(i % 3 == 0 ? 0 : zero))]);
        List<NamedTensor> tensors = StoredWeights.Tensors(QuantizationMethod.GptqV2, Module, matrix);
        byte[] zeros = tensors[1].Bytes.ToArray();
        for (int at = 0; at < zeros.Length; at += 4) BitConverter.TryWriteBytes(zeros.AsSpan(at), BitConverter.ToUInt32(zeros, at) - one);
        tensors[1] = tensors[1] with { Bytes = zeros };
        using var folder = new SafetensorsFolder(tensors);

        Weights.AssertSame(matrix, Read(new(QuantizationMethod.Gptq, matrix.Format), folder.Checkpoint, Module, 16, 64));
    }

    [Fact]
    public void Read_CompressedTensorsWithUnsetGroups_HasNoOrder()
    {
        QuantizedMatrix matrix = Stored(QuantizationMethod.CompressedTensors, "w4g32", 8, 64, hasOrder: false);
        byte[] unset = new byte[64 * sizeof(int)];
        unset.AsSpan().Fill(0xff);
        using var folder = new SafetensorsFolder([.. StoredWeights.Tensors(QuantizationMethod.CompressedTensors, Module, matrix), new(Module + ".weight_g_idx", "I32", [64], unset)]);
        Assert.Null(Read(new(QuantizationMethod.CompressedTensors, matrix.Format), folder.Checkpoint, Module, 8, 64).Order);
    }

    [Theory]
    [InlineData(QuantizationMethod.Gptq, "w4g128", 8, 100, ".qweight", "multiple of the group size 128")]
    [InlineData(QuantizationMethod.Gptq, "w4", 8, 100, ".qweight", "100 inputs, expected a multiple of 8")]
    [InlineData(QuantizationMethod.Gptq, "w4g128", 12, 128, ".qweight", "12 outputs, expected a multiple of 8")]
    [InlineData(QuantizationMethod.GptqV2, "w8", 6, 128, ".qweight", "6 outputs, expected a multiple of 4")]
    [InlineData(QuantizationMethod.Awq, "w4g128-asym", 12, 128, ".qweight", "12 outputs, expected a multiple of 8")]
    [InlineData(QuantizationMethod.Awq, "w4g128-asym", 8, 192, ".qweight", "k is 192, expected a multiple of the group size 128")]
    [InlineData(QuantizationMethod.CompressedTensors, "w4g64", 8, 100, ".qweight", "k is 100, expected a multiple of the group size 64")]
    public void Read_ShapesThatTheFormatDoesNotAllow_SayWhatWasExpected(QuantizationMethod method, string format, int n, int k, string codes, string complaint)
    {
        using var folder = new SafetensorsFolder([new(Module + codes, "I32", [1, 1], new byte[4])]);
        var config = new QuantizationConfig(method, WeightFormat.Parse(format));
        string message = Assert.Throws<ModelFormatException>(() => Read(config, folder.Checkpoint, Module, n, k)).Message;
        Assert.Contains(complaint, message);
        Assert.Contains(Module, message);
    }

    [Theory, MemberData(nameof(Cases))]
    public void Read_ATensorThatIsMissingShortOrOfAnotherType_IsNamed(QuantizationMethod method, string format, bool hasOrder)
    {
        QuantizedMatrix matrix = Stored(method, format, 16, 128, hasOrder);
        List<NamedTensor> tensors = StoredWeights.Tensors(method, Module, matrix);
        bool needsOrder = hasOrder && method is QuantizationMethod.Gptq or QuantizationMethod.GptqV2; // where the tensor is always written
        var config = new QuantizationConfig(method, matrix.Format, needsOrder);
        foreach (NamedTensor tensor in tensors)
        {
            string suffix = tensor.Name[(Module.Length + 1)..];
            bool isGroups = suffix.EndsWith("g_idx", StringComparison.Ordinal), isShape = suffix == "weight_shape";
            if (isGroups && matrix.Format.GroupSize == 0) continue; // not looked at
            if (!isShape && (!isGroups || needsOrder)) AssertRefused(tensors.Where(other => other != tensor), "is missing");
            if (!isShape) AssertRefused(tensors.Select(other => other == tensor ? tensor with { Shape = [2, .. tensor.Shape], Bytes = Twice(tensor.Bytes) } : other), suffix);
            AssertRefused(tensors.Select(other => other == tensor ? tensor with { Type = "U8", Shape = [tensor.Bytes.Length] } : other), suffix);
        }

        static byte[] Twice(ReadOnlyMemory<byte> bytes) => [.. bytes.Span, .. bytes.Span];

        void AssertRefused(IEnumerable<NamedTensor> damaged, string complaint)
        {
            using var folder = new SafetensorsFolder(damaged);
            Assert.Contains(complaint, Assert.Throws<ModelFormatException>(() => Read(config, folder.Checkpoint, Module, 16, 128)).Message);
        }
    }

    [Fact]
    public void Read_GroupsThatAreNone_AreRefused()
    {
        QuantizedMatrix matrix = Stored(QuantizationMethod.Gptq, "w4g32", 8, 64, hasOrder: false);
        foreach ((int value, string complaint) in ((int, string)[])[(2, "names group 2, expected 0 to 1"), (-1, "names group -1"), (1, "gives group 0 31 inputs, expected 32")])
        {
            List<NamedTensor> tensors = StoredWeights.Tensors(QuantizationMethod.Gptq, Module, matrix);
            byte[] groups = tensors[3].Bytes.ToArray();
            BitConverter.TryWriteBytes(groups, value);
            tensors[3] = tensors[3] with { Bytes = groups };
            using var folder = new SafetensorsFolder(tensors);
            Assert.Contains(complaint, Assert.Throws<ModelFormatException>(
                () => Read(new(QuantizationMethod.Gptq, matrix.Format), folder.Checkpoint, Module, 8, 64)).Message);
        }
    }

    [Fact]
    public void Read_WhatContradictsTheConfiguration_IsRefused()
    {
        QuantizedMatrix matrix = Stored(QuantizationMethod.Gptq, "w4g32-asym", 8, 64, hasOrder: false);
        var symmetric = new WeightFormat(4, 32);
        using var gptq = new SafetensorsFolder(StoredWeights.Tensors(QuantizationMethod.Gptq, Module, matrix));
        Assert.Contains("says symmetric and qzeros holds", Assert.Throws<ModelFormatException>(
            () => Read(new(QuantizationMethod.Gptq, symmetric), gptq.Checkpoint, Module, 8, 64)).Message);
        List<NamedTensor> tensors = StoredWeights.Tensors(QuantizationMethod.CompressedTensors, Module, matrix);
        using var compressed = new SafetensorsFolder(tensors);
        Assert.Contains("says symmetric and there is a weight_zero_point", Assert.Throws<ModelFormatException>(
            () => Read(new(QuantizationMethod.CompressedTensors, symmetric), compressed.Checkpoint, Module, 8, 64)).Message);
        tensors[2] = tensors[2] with { Bytes = new byte[16] };
        using var shape = new SafetensorsFolder(tensors);
        Assert.Contains("weight_shape is [0, 0], expected [8, 64]", Assert.Throws<ModelFormatException>(
            () => Read(new(QuantizationMethod.CompressedTensors, matrix.Format), shape.Checkpoint, Module, 8, 64)).Message);
    }

    private static QuantizedMatrix Read(QuantizationConfig config, Checkpoint checkpoint, string module, int n, int k)
    {
        using WordMatrix words = config.Read(checkpoint, module, n, k, Device.Cpu);
        return words.ToMatrix();
    }

    /// <summary>Random weights that the method can store: F16 scales, an order that takes the inputs of a group as they come, and for version 1 of GPTQ no zero point of 0.</summary>
    private static QuantizedMatrix Stored(QuantizationMethod method, string format, int n, int k, bool hasOrder)
    {
        QuantizedMatrix random = QuantizedMatrices.Random(WeightFormat.Parse(format), n, k, n + k, hasOrder);
        float[] scales = [.. random.Scales.Select(scale => (float)(Half)scale)];
        byte[]? zeros = method == QuantizationMethod.Gptq ? random.Zeros?.Select(zero => Math.Max(zero, (byte)1)).ToArray() : random.Zeros;
        int[]? order = random.Order?.Chunk(random.Format.GroupSize).SelectMany(group => group.Order()).ToArray();
        if (order?.SequenceEqual(Enumerable.Range(0, k)) == true) order = null; // one group
        return new QuantizedMatrix(random.Format, n, k, random.Codes, scales, zeros, order);
    }
}
