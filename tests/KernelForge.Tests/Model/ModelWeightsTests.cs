namespace KernelForge.Tests;

public sealed class ModelWeightsTests : IDisposable
{
    private const string Name = "model.layers.1.mlp.down_proj.weight";
    private const int Rows = 64, Columns = 96;

    private readonly MemoryDevice _gpu = new(1 << 20, isCpu: false);

    public void Dispose() => _gpu.Dispose();

    [Theory]
    [InlineData(DType.F32, DType.F16)]
    [InlineData(DType.F32, DType.BF16)]
    [InlineData(DType.BF16, DType.F16)]
    [InlineData(DType.F16, DType.F16)]
    public void Load_NarrowActivations_RoundsWeightsToTheirType(DType stored, DType computeType)
    {
        using TinyModel tiny = TinyModel.Create("llama", stored);
        foreach (Device device in (Device[])[Device.Cpu, _gpu])
        {
            using var weights = new ModelWeights(device, new Checkpoint(tiny.Folder), null, computeType, null, CancellationToken.None);

            DeviceMatrix loaded = weights.Load(Name, Rows, Columns);

            Assert.Equal(computeType, loaded.DType);
            double[] expected = [.. tiny.Tensor(Name).Select(value => (double)Close.Round((float)value, computeType))];
            Assert.Equal(expected, computeType == DType.F16
                ? loaded.ToArray<Half>().Cast<Half>().Select(value => (double)value)
                : loaded.ToArray<BFloat16>().Cast<BFloat16>().Select(value => (double)(float)value));
        }
    }

    [Fact]
    public void Load_TypeIsRight_MapsTheFileOnTheCpuAndCopiesItElsewhere()
    {
        using TinyModel tiny = TinyModel.Create("llama", DType.BF16);
        using Device cpu = Device.OpenCpu();
        using var mapped = new ModelWeights(cpu, new Checkpoint(tiny.Folder), null, DType.BF16, null, CancellationToken.None);
        using var copied = new ModelWeights(_gpu, new Checkpoint(tiny.Folder), null, DType.BF16, null, CancellationToken.None);

        BFloat16[,] onCpu = mapped.Load(Name, Rows, Columns).ToArray<BFloat16>(), onGpu = copied.Load(Name, Rows, Columns).ToArray<BFloat16>();

        Assert.Equal((0, Rows * Columns * sizeof(ushort)), (cpu.AllocatedBytes, _gpu.AllocatedBytes));
        Assert.Equal(onCpu, onGpu);
    }

    [Fact]
    public void Complete_AllCopied_ClosesTheFiles()
    {
        using TinyModel tiny = TinyModel.Create("llama", DType.BF16);
        using var weights = new ModelWeights(_gpu, new Checkpoint(tiny.Folder), null, DType.F16, null, CancellationToken.None);
        weights.Load(Name, Rows, Columns);

        weights.Complete();

        Assert.Throws<ObjectDisposedException>(() => weights.Load(Name, Rows, Columns));
    }
}
