namespace KernelForge.Tests;

public class PackedFileTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private const int VersionAt = 8, BitsAt = 12, GroupAt = 16, FlagsAt = 20, KAt = 28, LanesAt = 32, BytesAt = 40, HeaderBytes = 48;

    [DeviceTheory, MemberData(nameof(Devices.All), MemberType = typeof(Devices))]
    public void Load_WhatACpuSaved_IsTheSameOnEveryDevice(string deviceName)
    {
        foreach (WeightFormat format in QuantizedMatrices.Formats)
        {
            QuantizedMatrix matrix = QuantizedMatrices.Random(format, 200, 256, 5, hasOrder: format.HasZeroPoints);
            using PackedWeights saved = QuantizedMatrices.Pack(Device.Cpu, matrix);
            using PackedWeights loaded = PackedWeights.Load(devices.Open(deviceName), new MemoryStream(Saved(saved)));

            Assert.Equal(saved.Header, loaded.Header);
            Assert.Equal(saved.GetType(), loaded.GetType());
            Assert.Equal(Weights.FileBytes(saved), Weights.FileBytes(loaded));
            Weights.AssertSame(matrix, loaded.Unpack());
        }
    }

    [Theory, InlineData("w4g128"), InlineData("w8-asym")]
    public void Save_CodesOfTheCpu_LieInTheOrderOfAllDevices(string format)
    {
        QuantizedMatrix matrix = QuantizedMatrices.Random(WeightFormat.Parse(format), 130, 256, 5);
        using PackedWeights weights = QuantizedMatrices.Pack(Device.Cpu, matrix);

        Assert.Equal((CodeOrder.Panels, CodeOrder.Mma), (weights.Layout.CodeOrder, weights.Header.Layout.CodeOrder));
        foreach ((PackedLayout layout, byte[] bytes) in ((PackedLayout, byte[])[])[(weights.Layout, Weights.Bytes(weights)), (weights.Header.Layout, Weights.FileBytes(weights))])
            for (int i = 0; i < matrix.Codes.Length; i++)
            {
                (long at, int bit) = layout.Code(i / matrix.K, i % matrix.K);
                Assert.Equal(matrix.Codes[i], (bytes[at] >> bit) & matrix.Format.MaxCode);
            }
    }

    [Fact]
    public void Load_GatedWeights_StayGated()
    {
        QuantizedMatrix matrix = QuantizedMatrices.Random(WeightFormat.W4Group32, 8, 64, 5);
        using PackedWeights saved = W4Packer.PackGated(Device.Cpu, matrix, matrix);
        using PackedWeights loaded = PackedWeights.Load(Device.Cpu, new MemoryStream(Saved(saved)));
        Assert.True(loaded.IsGated);
    }

    [Theory]
    [InlineData(0, 1, "which start with")]
    [InlineData(VersionAt, 2, "expected version 1, got version 2")]
    [InlineData(BitsAt, 5, "5 bits, expected 4 or 8")]
    [InlineData(GroupAt, 48, "groups of 48")]
    [InlineData(FlagsAt, 8, "flags")]
    [InlineData(KAt, 200, "multiple of the group size 128")]
    [InlineData(LanesAt, 384, "lanes of 384")]
    [InlineData(BytesAt, 17, "got 17")]
    public void Load_AHeaderThatDoesNotHoldTogether_SaysWhatWasExpected(int at, int value, string complaint)
    {
        byte[] bytes = Saved();
        BitConverter.TryWriteBytes(bytes.AsSpan(at), value);
        Assert.Contains(complaint, Assert.Throws<InvalidDataException>(() => PackedWeights.Load(Device.Cpu, new MemoryStream(bytes))).Message);
    }

    [Theory, InlineData(true), InlineData(false)]
    public void Load_ATruncatedStream_SaysHowMuchIsMissing(bool canSeek)
    {
        byte[] bytes = Saved();
        foreach (int length in (int[])[0, 3, HeaderBytes - 1, HeaderBytes, HeaderBytes + 1, bytes.Length - 1])
        {
            using var whole = new MemoryStream(bytes[..length]);
            using Stream stream = canSeek ? whole : new System.IO.Compression.DeflateStream(Deflated(whole), System.IO.Compression.CompressionMode.Decompress);
            string message = Assert.Throws<InvalidDataException>(() => PackedWeights.Load(Device.Cpu, stream)).Message;
            Assert.Contains(length < HeaderBytes ? $"got {length} bytes" : $"got {length - HeaderBytes}", message);
        }
        Assert.Equal(0, devices.Open("cpu-Scalar").AllocatedBytes);
    }

    [Fact]
    public void Load_AnOrderThatIsNone_IsRefused()
    {
        QuantizedMatrix matrix = QuantizedMatrices.Random(WeightFormat.W4Group128, 8, 128, 5, hasOrder: true);
        using PackedWeights weights = W4Packer.Pack(Device.Cpu, matrix);
        byte[] bytes = Saved(weights);
        BitConverter.TryWriteBytes(bytes.AsSpan(HeaderBytes + (int)weights.Layout.OrderOffset), 1 << 30);
        Assert.Contains("no permutation", Assert.Throws<InvalidDataException>(() => PackedWeights.Load(Device.Cpu, new MemoryStream(bytes))).Message);
    }

    private static byte[] Saved()
    {
        using W4Weights weights = W4Packer.Pack(Device.Cpu, QuantizedMatrices.Random(WeightFormat.W4Group128, 8, 256, 5));
        return Saved(weights);
    }

    private static byte[] Saved(PackedWeights weights)
    {
        using var stream = new MemoryStream();
        weights.Save(stream);
        return stream.ToArray();
    }

    private static MemoryStream Deflated(MemoryStream plain)
    {
        var packed = new MemoryStream();
        using (var deflate = new System.IO.Compression.DeflateStream(packed, System.IO.Compression.CompressionLevel.Fastest, leaveOpen: true)) plain.CopyTo(deflate);
        packed.Position = 0;
        return packed;
    }
}
