using System.Buffers.Binary;
using System.Text;

namespace KernelForge.Tests;

public sealed class SafetensorsFileTests : IDisposable
{
    private readonly string _path = Path.Combine(Directory.CreateTempSubdirectory("kf-safetensors-").FullName, "model.safetensors");

    public void Dispose() => Directory.Delete(Path.GetDirectoryName(_path)!, recursive: true);

    [Theory]
    [InlineData(DType.F32)]
    [InlineData(DType.F16)]
    [InlineData(DType.BF16)]
    public void Load_CpuDevice_GivesTheStoredElementsWithoutACopy(DType dtype)
    {
        float[] values = [0, 1, -2, 0.5f, 3, -0.25f];
        TinyModel.WriteSafetensors(_path, [("a", [1], [7]), ("b", [2, 3], values)], dtype);
        long before = Device.Cpu.AllocatedBytes;

        using var file = new SafetensorsFile(_path);
        DeviceMatrix matrix = file.Load(Device.Cpu, file.Tensors["b"]).AsMatrix(2, 3);

        Assert.Equal(dtype, matrix.DType);
        Assert.Equal(before, Device.Cpu.AllocatedBytes);
        float[] read = dtype switch
        {
            DType.F16 => [.. matrix.ToArray<Half>().Cast<Half>().Select(value => (float)value)],
            DType.BF16 => [.. matrix.ToArray<BFloat16>().Cast<BFloat16>().Select(value => (float)value)],
            _ => [.. matrix.ToArray<float>().Cast<float>()],
        };
        Assert.Equal(values, read);
    }

    [Fact]
    public void Open_FileCutAtAnyByte_SaysTruncatedOrNoSafetensors()
    {
        TinyModel.WriteSafetensors(_path, [("weight", [2, 3], [1, 2, 3, 4, 5, 6])], DType.F32);
        byte[] whole = File.ReadAllBytes(_path);
        for (int length = 0; length < whole.Length; length++)
        {
            File.WriteAllBytes(_path, whole[..length]);
            string message = Assert.Throws<ModelFormatException>(() => new SafetensorsFile(_path)).Message;
            Assert.Matches("truncated|too short", message);
        }
    }

    [Theory]
    [InlineData("""{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}""", "is F32[2] in 4 bytes")]
    [InlineData("""{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}""", "from byte 4 to 0")]
    [InlineData("""{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,400]}}""", "truncated")]
    [InlineData("""{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}""", "twice")]
    [InlineData("""{"w":{"dtype":"F32","shape":[1]}}""", "no valid safetensors table")]
    [InlineData("""{"w":{"dtype":"F32","shape":[9223372036854775807,3],"data_offsets":[0,4]}}""", "no valid safetensors table")]
    [InlineData("""{"w":{"dtype":"F32","shape":[1],"data_offsets":[0]}}""", "no valid safetensors table")]
    [InlineData("""{"w":{"dtype":"F32","shape":[1],"data_offsets":[]}}""", "no valid safetensors table")]
    [InlineData("[1, 2]", "no valid safetensors table")]
    [InlineData("{\"w\":", "no valid safetensors table")]
    public void Open_BadHeader_SaysWhatIsWrong(string header, string expected)
    {
        byte[] text = Encoding.UTF8.GetBytes(header), length = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)text.Length);
        File.WriteAllBytes(_path, [.. length, .. text, 0, 0, 0, 0]);

        string message = Assert.Throws<ModelFormatException>(() => new SafetensorsFile(_path)).Message;

        Assert.Contains(expected, message, StringComparison.Ordinal);
        Assert.Contains(_path, message, StringComparison.Ordinal);
    }

    [Fact]
    public void Load_IntegerTensor_NamesTheSupportedTypes()
    {
        byte[] text = Encoding.UTF8.GetBytes("""{"w":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"""), length = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)text.Length);
        File.WriteAllBytes(_path, [.. length, .. text, .. new byte[8]]);
        using var file = new SafetensorsFile(_path);

        string message = Assert.Throws<ModelFormatException>(() => file.Load(Device.Cpu, file.Tensors["w"])).Message;

        Assert.Contains("is I64; supported are F32, F16 and BF16", message, StringComparison.Ordinal);
    }
}
