namespace KernelForge.Tests;

public sealed class DeviceProfileTests : IDisposable
{
    private readonly string _path = Path.GetTempFileName();

    public void Dispose() => File.Delete(_path);

    [Theory]
    [InlineData("h100", 295, 76)]
    [InlineData("h200", 206, 53)]
    [InlineData("a100", 153, 40)]
    [InlineData("a10", 208, 54)]
    public void Known_Gpus_HaveThePublishedRidgePoint(string name, double flopsPerByte, double fourBitRows)
    {
        DeviceProfile device = DeviceProfile.Named(name) with { MatrixEfficiency = 1, MemoryEfficiency = 1 };

        Assert.Equal(flopsPerByte, device.RidgePoint, 0.5);
        Assert.Equal(fourBitRows, 0.515625 / 2 * device.RidgePoint, 0.6); // papers.md 3.1, the knee of products with 4-bit weights
    }

    [Fact]
    public void Known_AreValid() => Assert.All(DeviceProfile.Known, device => device.Validate());

    [Fact]
    public void Named_Unknown_ListsTheKnown()
    {
        string message = Assert.Throws<ArgumentException>(() => DeviceProfile.Named("b200")).Message;

        Assert.StartsWith("Unknown device 'b200'; expected h100, h200, a100, a10, cpu or a profile of kf profile (FILE.json).", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Json_RoundTrip_KeepsEveryNumber()
    {
        DeviceProfile profile = DeviceProfile.Named("a100") with { Name = "mine", Source = "here", RowSeconds = 1.0 / 3, CacheBytes = 1L << 40, Overlap = 0.1 };
        File.WriteAllText(_path, profile.ToJson());

        Assert.Equal(profile, DeviceProfile.Read(_path));
        Assert.Contains("\"memory_bytes_per_second\": 2039000000000,", profile.ToJson(), StringComparison.Ordinal);
    }

    [Fact]
    public void Read_FewNumbers_HasDefaultsForTheOthers() => Assert.Equal(
        new DeviceProfile { Name = "x", MatrixFlops = 1e12, MemoryBytesPerSecond = 1e11, MemoryBytes = 5 },
        DeviceProfile.Parse("""{"name":"x","matrix_flops":1e12,"memory_bytes_per_second":1e11,"memory_bytes":5}"""));

    [Theory]
    [InlineData("", "JSON")]
    [InlineData("null", "expected an object, not null")]
    [InlineData("[1]", "expected an object, not Array")]
    [InlineData("""{"name":"x","matrix_flops":1,"memory_bytes":1}""", "memory_bytes_per_second")]
    [InlineData("""{"name":"x","matrix_flops":"fast","memory_bytes_per_second":1,"memory_bytes":1}""", "matrix_flops")]
    [InlineData("""{"name":"x","matrix_flops":1,"memory_bytes_per_second":1,"memory_bytes":1,"colour":2}""", "colour")]
    [InlineData("""{"name":"x","matrix_flops":-1,"memory_bytes_per_second":1,"memory_bytes":1}""", "matrix_flops must be more than 0, not -1.")]
    [InlineData("""{"name":"x","matrix_flops":1,"memory_bytes_per_second":1,"memory_bytes":0}""", "memory_bytes must be more than 0, not 0.")]
    [InlineData("""{"name":"x","matrix_flops":1,"memory_bytes_per_second":1,"memory_bytes":1,"tile_tokens":48}""", "tile_tokens must be a power of two, not 48.")]
    [InlineData("""{"name":"x","matrix_flops":1,"memory_bytes_per_second":1,"memory_bytes":1,"overlap":1.5}""", "overlap must be from 0 to 1, not 1.5.")]
    [InlineData("""{"name":"x","matrix_flops":1,"memory_bytes_per_second":1,"memory_bytes":1,"layer_seconds":-1e-6}""", "layer_seconds must be 0 or more, not -1E-06.")]
    public void Read_SomethingElse_SaysWhatCame(string json, string said)
    {
        File.WriteAllText(_path, json);

        string message = Assert.Throws<InvalidDataException>(() => DeviceProfile.Read(_path)).Message;

        Assert.StartsWith($"{_path}: This is no device profile: ", message, StringComparison.Ordinal);
        Assert.Contains(said, message, StringComparison.Ordinal);
    }
}
