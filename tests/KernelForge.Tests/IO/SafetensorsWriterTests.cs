namespace KernelForge.Tests;

public sealed class SafetensorsWriterTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kf-writer-").FullName;

    private string Target => Path.Combine(_folder, "model.safetensors");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Complete_IsWhatTheReaderReads()
    {
        SafetensorsTensor[] tensors = [new("b", "I32", [2, 1], 8), new("a.weight", "BF16", [3], 6), new("none", "F32", [0], 0)];
        byte[] bytes = [.. Enumerable.Range(1, 14).Select(value => (byte)value)];

        using (var writer = new SafetensorsWriter(Target, tensors))
        {
            writer.Write(bytes.AsSpan(0, 5)); // pieces need not end with a tensor
            writer.Write(bytes.AsSpan(5));
            Assert.False(File.Exists(Target));
            writer.Complete();
        }

        using var file = new SafetensorsFile(Target);
        Assert.Equal(["a.weight", "b", "none"], file.Tensors.Keys.Order());
        Assert.Equal(bytes[..8], file.Bytes(file.Tensors["b"], 0, 8).ToArray());
        Assert.Equal(bytes[8..], file.Bytes(file.Tensors["a.weight"], 0, 6).ToArray());
        Assert.Equal(("BF16", 3L), (file.Tensors["a.weight"].Type, file.Tensors["a.weight"].Shape[0]));
        Assert.Equal(0, file.Tensors["b"].Offset % 8);
        Assert.Equal([Target], Directory.GetFiles(_folder));
    }

    [Fact]
    public void Write_ManyBlocks_AreTheBytesThatCame()
    {
        var bytes = new byte[(17 << 20) + 5]; // two blocks and a part
        new Random(1).NextBytes(bytes);

        using (var writer = new SafetensorsWriter(Target, [new("a", "U8", [bytes.Length], bytes.Length)], new Dictionary<string, string> { ["made by"] = "a test" }))
        {
            for (int start = 0, length = 1; start < bytes.Length; start += length, length = Math.Min(3 * length, bytes.Length - start)) writer.Write(bytes.AsSpan(start, length));
            writer.Complete();
        }

        using var file = new SafetensorsFile(Target);
        Assert.True(file.Bytes(file.Tensors["a"], 0, bytes.Length).SequenceEqual(bytes));
        Assert.Equal(0, file.Tensors["a"].Offset % 64);
        Assert.Equal("a test", file.Metadata["made by"]);
    }

    [Fact]
    public void Dispose_WithoutComplete_LeavesNothing()
    {
        using (var writer = new SafetensorsWriter(Target, [new("a", "F32", [1], 4)])) writer.Write(new byte[2]);

        Assert.Empty(Directory.GetFiles(_folder));
    }

    [Fact]
    public void WrongBytesOrNames_AreRefused()
    {
        using var writer = new SafetensorsWriter(Target, [new("a", "F32", [1], 4)]);

        Assert.Throws<InvalidOperationException>(() => writer.Complete());
        Assert.Throws<InvalidOperationException>(() => writer.Write(new byte[5]));
        var error = Assert.Throws<ArgumentException>(() => new SafetensorsWriter(Path.Combine(_folder, "b"), [new("a", "F32", [1], 4), new("a", "F32", [1], 4)]).Dispose());
        Assert.Contains("tensor a comes twice", error.Message, StringComparison.Ordinal);
    }
}
