namespace KernelForge.Tests;

public sealed class ModelPackerTests : IDisposable
{
    private static readonly SchedulerOptions Options = new() { BlockCount = 64, BlockSize = 16, ContextLength = 64, TokenBudget = 64, MaxSequences = 4, EndTokenIds = [1] };

    private readonly Device _device = Device.OpenCpu(new CpuDeviceOptions { Threads = 2 });
    private readonly string _folder = Directory.CreateTempSubdirectory("kf-pack-").FullName;

    private string Target => Path.Combine(_folder, "tiny.kfpack");

    public void Dispose()
    {
        Assert.Equal(0, _device.AllocatedBytes);
        _device.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Theory]
    [InlineData("llama", DType.F32, DType.F32)]
    [InlineData("llama-tied", DType.BF16, DType.F32)]
    [InlineData("llama-biases", DType.F16, DType.F32)] // gate and up stay apart
    [InlineData("qwen3", DType.BF16, DType.BF16)]
    [InlineData("llama", DType.F16, DType.BF16)] // rounded first
    public void DenseModel_RowsPackedOrMapped_HaveTheSameBits(string family, DType stored, DType computeType)
    {
        using TinyModel tiny = TinyModel.Create(family, stored);

        RequireSameBits(tiny, computeType);
    }

    [Theory]
    [InlineData(QuantizationMethod.Gptq, "w4g32", true, "llama-tied")]
    [InlineData(QuantizationMethod.CompressedTensors, "w8g32-asym", false, "llama-biases")]
    public void QuantisedModel_RowsPackedOrMapped_HaveTheSameBits(QuantizationMethod method, string format, bool hasOrder, string family)
    {
        using TinyModel tiny = TinyModel.CreateQuantized(family, method, WeightFormat.Parse(format), hasOrder);

        RequireSameBits(tiny, DType.F32);
    }

    [Theory]
    [InlineData("llama", DType.F32)]
    [InlineData("llama-tied", DType.BF16)]
    [InlineData("llama-biases", DType.F16)]
    public void Load_Memory_IsWhatWasSaid(string family, DType stored)
    {
        using TinyModel tiny = TinyModel.Create(family, stored);
        long mapped = PackedModels.MappedBytes(tiny), angles = (long)tiny.Config.MaxContext * tiny.Config.HeadDim * sizeof(float);
        ModelPacker.Write(tiny.Folder, Target, device: _device);

        foreach ((bool packs, string file) in ((bool, string)[])[(true, ""), (true, Target), (false, "")])
        {
            var options = new EngineOptions { PackWeights = packs, PackedFile = file };
            using var checkpoint = new Checkpoint(tiny.Folder);
            long weights = EngineMemory.Of(_device, tiny.Config, checkpoint, options.For(_device, tiny.Config, checkpoint)).Weights;
            using Transformer model = Transformer.Load(_device, tiny.Folder, options);

            Assert.Equal(packs && file == "" ? weights - mapped : 0, _device.AllocatedBytes - angles);
            Assert.Equal(packs ? mapped + model.Packed.Sum(module => module.Buffer.SizeInBytes) : checkpoint.SizeInBytes, weights);
        }
    }

    [Fact]
    public void Load_FileOfTheFolder_IsTakenWhereItFits()
    {
        using TinyModel tiny = TinyModel.Create("llama", DType.BF16);
        Assert.Equal(Path.Combine(tiny.Folder, "model.kfpack"), ModelPacker.Write(tiny.Folder, device: _device).FullName);
        long angles = (long)tiny.Config.MaxContext * tiny.Config.HeadDim * sizeof(float);

        Assert.Equal((angles, null), Load());
        File.SetLastWriteTimeUtc(Path.Combine(tiny.Folder, "model.safetensors"), new DateTime(2001, 2, 3, 4, 5, 6, DateTimeKind.Utc));
        (long bytes, string? complaint) = Load();
        Assert.True(bytes > angles);
        Assert.Matches("model.kfpack does not fit the model: its source is model.safetensors of .* bytes, changed 20.*, expected model.safetensors of .*, changed 2001-02-03T04:05:06", complaint);
        Assert.Equal(complaint, Assert.Throws<ModelFormatException>(() => Load(Path.Combine(tiny.Folder, "model.kfpack"))).Message);
        Assert.Equal((bytes, null), Load(""));
        ModelPacker.Write(tiny.Folder, device: _device);
        Assert.Equal((angles, null), Load());

        (long, string?) Load(string? file = null)
        {
            using Transformer model = Transformer.Load(_device, tiny.Folder, new EngineOptions { PackedFile = file });
            return (_device.AllocatedBytes, model.PackedFileComplaint);
        }
    }

    [Fact]
    public void Load_FileOfAnotherTypeOrModel_IsRefused()
    {
        using TinyModel tiny = TinyModel.Create("llama", DType.F16), other = TinyModel.Create("llama", DType.BF16);
        ModelPacker.Write(tiny.Folder, Target, device: _device);

        Assert.Contains("is F16, activations in BF16 expect BF16", Refused(tiny, DType.BF16), StringComparison.Ordinal);
        Assert.Contains("its source is", Refused(other, DType.F32), StringComparison.Ordinal);
        File.Delete(Target);
        Assert.Contains("tiny.kfpack does not exist", Refused(tiny, DType.F32), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(QuantizationMethod.Gptq)]
    [InlineData(null)]
    public void Load_DamagedFile_IsRefused(QuantizationMethod? method)
    {
        using TinyModel tiny = method is { } quantized
            ? TinyModel.CreateQuantized("llama", quantized, WeightFormat.W4Group32, hasOrder: true) : TinyModel.Create("llama", DType.BF16);
        ModelPacker.Write(tiny.Folder, Target, device: _device);
        byte[] whole = File.ReadAllBytes(Target);

        foreach (int length in (int[])[0, 7, 100, whole.Length / 2, whole.Length - 1])
        {
            File.WriteAllBytes(Target, whole[..length]);
            Assert.Matches("truncated|too short", Refused(tiny, DType.F32));
        }
        Assert.Contains("its kernelforge_pack is 7, expected 1", With("\"kernelforge_pack\":\"1\""u8, "\"kernelforge_pack\":\"7\""u8), StringComparison.Ordinal);
        Assert.Contains("its layout is 7, expected 1", With("\"layout\":\"1\""u8, "\"layout\":\"7\""u8), StringComparison.Ordinal);
        Assert.Contains("does not say its source", With("\"source\""u8, "\"sourcf\""u8), StringComparison.Ordinal);
        if (method is null)
        {
            Assert.Contains("the model has no tensor model.layers.0.mlp.down_prox.weight", With("0.mlp.down_proj"u8, "0.mlp.down_prox"u8), StringComparison.Ordinal);
            return;
        }
        Assert.Contains("model.layers.0.mlp.down_proj is missing", With("0.mlp.down_proj\""u8, "0.mlp.down_prox\""u8), StringComparison.Ordinal);
        Assert.Contains("packed weights, which start with", With("WEIGHTPK"u8, "WEIGHTPX"u8), StringComparison.Ordinal);

        long end;
        File.WriteAllBytes(Target, whole);
        using (var file = new SafetensorsFile(Target)) end = file.Tensors["model.layers.0.self_attn.q_proj"].Offset + file.Tensors["model.layers.0.self_attn.q_proj"].Length;
        whole[end - 64 * sizeof(int)] ^= 1; // the first of 64 inputs
        File.WriteAllBytes(Target, whole);
        Assert.Contains("the order of the 64 inputs is no permutation", Refused(tiny, DType.F32), StringComparison.Ordinal);

        string With(ReadOnlySpan<byte> bytes, ReadOnlySpan<byte> others)
        {
            byte[] damaged = [.. whole];
            for (int at = damaged.AsSpan().IndexOf(bytes); at >= 0; at = damaged.AsSpan().IndexOf(bytes)) others.CopyTo(damaged.AsSpan(at));
            Assert.NotEqual(whole, damaged);
            File.WriteAllBytes(Target, damaged);
            return Refused(tiny, DType.F32);
        }
    }

    [Fact]
    public void Write_Cancelled_LeavesNothing()
    {
        using TinyModel tiny = TinyModel.Create("llama", DType.BF16);
        string[] before = Directory.GetFiles(tiny.Folder);
        List<double> shares = [];
        ModelPacker.Write(tiny.Folder, Target, device: _device, progress: new Listener(shares.Add));
        Assert.Equal(shares.Order(), shares);
        Assert.Equal(1, shares[^1]);
        Assert.True(shares.Count > 2 * 2 * 6, $"{shares.Count} reports");

        foreach (double end in (double[])[0.1, 0.4, 0.6, 0.9])
        {
            using var stop = new CancellationTokenSource();
            Assert.Throws<OperationCanceledException>(() => ModelPacker.Write(
                tiny.Folder, device: _device, progress: new Listener(share => { if (share > end) stop.Cancel(); }), cancellationToken: stop.Token));
            Assert.Equal(before, Directory.GetFiles(tiny.Folder));
        }
    }

    [Fact]
    public void Write_DeviceThatIsNoCpu_IsRefused()
    {
        using TinyModel tiny = TinyModel.Create("llama", DType.BF16);
        using var gpu = new MemoryDevice(1 << 20, isCpu: false);

        Assert.Contains("expected a CPU device", Assert.Throws<ArgumentException>(() => ModelPacker.Write(tiny.Folder, Target, device: gpu)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Wrap_WhatDoesNotFit_IsRefused()
    {
        using DeviceBuffer bytes = _device.Allocate(DType.I8, 2 * 64 + 64);
        string Refused(DeviceBuffer buffer, int n, int k) => Assert.Throws<ArgumentException>(() => DenseWeights.Wrap(buffer, DType.BF16, n, k)).Message;

        Assert.Contains("192 bytes for BF16[16, 4], expected 128", Refused(bytes, 16, 4), StringComparison.Ordinal);
        Assert.Contains("start 32 bytes behind", Refused(_device.Wrap(bytes.Address + 32, DType.I8, 128), 16, 4), StringComparison.Ordinal);
        using var gpu = new MemoryDevice(1 << 20, isCpu: false);
        Assert.Contains("expected a CPU device", Refused(gpu.Wrap(bytes.Address, DType.I8, 128), 16, 4), StringComparison.Ordinal);
    }

    private void RequireSameBits(TinyModel tiny, DType computeType)
    {
        ModelPacker.Write(tiny.Folder, Target, computeType, _device);
        int[] tokens = [.. Enumerable.Range(0, 20).Select(i => i * 37 % 97)];
        float[][] rows = Logits(packs: false, ""), packed = Logits(packs: true, ""), mapped = Logits(packs: true, Target);

        Assert.Equal(4, rows.Length);
        Assert.Equal(rows, packed);
        Assert.Equal(rows, mapped);

        float[][] Logits(bool packs, string file)
        {
            using var run = new ModelRun(tiny, Options, _device, computeType, packWeights: packs, packedFile: file);
            run.Run([new Request(tokens, new SamplingOptions { MaxTokens = 4, IgnoreEndToken = true })]);
            return [.. run.Logits.OrderBy(pair => pair.Key.Position).Select(pair => pair.Value)];
        }
    }

    /// <summary>Why the file at <see cref="Target"/> is not used.</summary>
    private string Refused(TinyModel tiny, DType computeType)
    {
        string message = Assert.Throws<ModelFormatException>(
            () => Transformer.Load(_device, tiny.Folder, new EngineOptions { ComputeType = computeType, PackedFile = Target })).Message;
        Assert.Equal(0, _device.AllocatedBytes);
        return message;
    }

    private sealed class Listener(Action<double> report) : IProgress<double>
    {
        public void Report(double value) => report(value);
    }
}
