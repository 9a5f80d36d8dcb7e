using KernelForge.Tests.Reference;

namespace KernelForge.Tests;

public class QuantizedModelTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private static readonly Request[] Requests =
    [
        new([.. Enumerable.Range(0, 20).Select(i => i * 37 % 97)], new SamplingOptions { MaxTokens = 4, IgnoreEndToken = true }),
        new([5, 6, 7], new SamplingOptions { MaxTokens = 3, IgnoreEndToken = true }),
    ];

    private static readonly SchedulerOptions Options = new() { BlockCount = 64, BlockSize = 16, ContextLength = 64, TokenBudget = 64, MaxSequences = 4, EndTokenIds = [1] };

    public static TheoryData<string, QuantizationMethod, string, bool, string> Cases
    {
        get
        {
            var data = new TheoryData<string, QuantizationMethod, string, bool, string>();
            foreach (string device in (string[])[Devices.CpuNames[^1], .. Devices.CudaNames])
            {
                data.Add(device, QuantizationMethod.Gptq, "w4g32", true, "llama");
                data.Add(device, QuantizationMethod.GptqV2, "w8-asym", false, "qwen2");
                data.Add(device, QuantizationMethod.Awq, "w4g32-asym", false, "qwen3");
                data.Add(device, QuantizationMethod.CompressedTensors, "w4g32-asym", true, "llama-biases"); // biases of the MLP: gate and up stay apart
                data.Add(device, QuantizationMethod.CompressedTensors, "w8g32", false, "llama-tied");
            }
            return data;
        }
    }

    [DeviceTheory, MemberData(nameof(Cases))]
    public void Load_AQuantisedFolder_GivesTheLogitsOfItsDequantisedWeights(string deviceName, QuantizationMethod method, string format, bool hasOrder, string family)
    {
        Device device = devices.Open(deviceName);
        DType type = device.IsCpu ? DType.F32 : DType.F16;
        using TinyModel tiny = TinyModel.CreateQuantized(family, method, WeightFormat.Parse(format), hasOrder);
        using var run = new ModelRun(tiny, Options, device);

        IReadOnlyList<Sequence> sequences = run.Run(Requests);

        Assert.Equal((method, WeightFormat.Parse(format)), (tiny.Config.Quantization!.Method, tiny.Config.Quantization.Format));
        var reference = new ReferenceTransformer(tiny.Config, tiny.Tensor);
        foreach (Sequence sequence in sequences)
        {
            int[] tokens = [.. sequence.Request.PromptTokens, .. sequence.OutputTokens];
            (double[] Logits, double[] Magnitudes)[] expected = reference.Run(tokens.AsSpan(0, tokens.Length - 1));
            for (int length = sequence.Request.PromptTokens.Length; length < tokens.Length; length++)
                Close.AssertEqual(expected[length - 1].Logits, run.Logits[(sequence.Request, 0, length)], i => reference.Bound(expected[length - 1].Magnitudes[i], type));
        }
    }

    [DeviceTheory, MemberData(nameof(Devices.AllCuda), MemberType = typeof(Devices))]
    public void BytesAs_AQuantisedCheckpoint_IsWhatLoadingTakes(string deviceName)
    {
        Device gpu = devices.Open(deviceName);
        foreach ((QuantizationMethod method, string format, bool hasOrder) in ((QuantizationMethod, string, bool)[])
            [(QuantizationMethod.Gptq, "w4g32", true), (QuantizationMethod.Awq, "w4g32-asym", false), (QuantizationMethod.CompressedTensors, "w8", false)])
        {
            using TinyModel tiny = TinyModel.CreateQuantized("llama", method, WeightFormat.Parse(format), hasOrder);
            using var checkpoint = new Checkpoint(tiny.Folder);
            long expected = checkpoint.BytesAs(DType.F16, tiny.Config.Quantization);

            Assert.Equal(DType.F16, checkpoint.MainType);
            using (Transformer.Load(gpu, tiny.Folder))
            {
                long angles = tiny.Config.MaxContext * tiny.Config.HeadDim * sizeof(float), oneOrder = hasOrder ? 64 * sizeof(int) : 0; // gate and up share theirs
                Assert.Equal(expected - tiny.Config.Layers * oneOrder, gpu.AllocatedBytes - angles);
            }
            Assert.Equal(0, gpu.AllocatedBytes);
        }
    }

    [Fact]
    public void LoadGated_ProjectionsThatAgree_AreOne()
    {
        using TinyModel tiny = TinyModel.CreateQuantized("llama", QuantizationMethod.Gptq, WeightFormat.W4Group32, hasOrder: true);
        using var weights = new ModelWeights(devices.Open("cpu-Scalar"), new Checkpoint(tiny.Folder), tiny.Config.Quantization, DType.F32, null, CancellationToken.None);

        PackedWeights? gated = weights.LoadGated("model.layers.0.mlp.gate_proj", "model.layers.0.mlp.up_proj", 96, 64);

        Assert.Equal((true, true, 192, 64), (gated!.IsGated, gated.HasOrder, gated.N, gated.K));
    }

    [Theory, InlineData("gate", "other", 16), InlineData("gate", "dense", 16), InlineData("dense", "gate", 16), InlineData("four", "four", 4)]
    public void LoadGated_ProjectionsThatDoNot_StayApart(string gate, string up, int n)
    {
        var format = new WeightFormat(8, 32);
        NamedTensor[] tensors =
        [
            .. StoredWeights.Tensors(QuantizationMethod.GptqV2, "gate", QuantizedMatrices.Random(format, 16, 64, 1, hasOrder: true)),
            .. StoredWeights.Tensors(QuantizationMethod.GptqV2, "other", QuantizedMatrices.Random(format, 16, 64, 2, hasOrder: true)),
            .. StoredWeights.Tensors(QuantizationMethod.GptqV2, "four", QuantizedMatrices.Random(format, 4, 64, 3)),
            new("dense.weight", "F16", [16, 64], new byte[16 * 64 * 2]),
        ];
        string folder = Directory.CreateTempSubdirectory("kf-gated-").FullName;
        SafetensorsFolder.Write(Path.Combine(folder, "model.safetensors"), tensors);
        using (var weights = new ModelWeights(devices.Open("cpu-Scalar"), new Checkpoint(folder), new(QuantizationMethod.GptqV2, format), DType.F32, null, CancellationToken.None))
        {
            Assert.Null(weights.LoadGated(gate, up, n, 64));
            Assert.Equal(gate != "dense", weights.LoadPacked(gate, n, 64) is not null);
        }
        Directory.Delete(folder, recursive: true);
    }

    [DeviceTheory, MemberData(nameof(Devices.All), MemberType = typeof(Devices))]
    public void Load_Progress_GrowsWithEveryModuleAndCancellationEndsIt(string deviceName)
    {
        Device device = devices.Open(deviceName);
        using TinyModel tiny = TinyModel.CreateQuantized("llama", QuantizationMethod.CompressedTensors, WeightFormat.W4Group32);
        tiny.WriteTokenizer();
        var heard = new Heard(_ => { });
        Engine.Load(tiny.Folder, new EngineOptions { KvBlocks = 8 }, device, heard).Dispose();

        Assert.Equal(heard.Shares.Order(), heard.Shares);
        Assert.True(heard.Shares.Count > 2 * 6, $"{heard.Shares.Count} reports");
        Assert.Equal(1, heard.Shares[^1]);

        using var source = new CancellationTokenSource();
        var stopping = new Heard(share => { if (share > 0.5) source.Cancel(); });
        Assert.Throws<OperationCanceledException>(() => Engine.Load(tiny.Folder, new EngineOptions { KvBlocks = 8 }, device, stopping, source.Token));
        Assert.InRange(stopping.Shares[^1], 0.5, 0.9);
        Assert.Equal(0, device.AllocatedBytes);
    }

    private sealed class Heard(Action<double> then) : IProgress<double>
    {
        public List<double> Shares { get; } = [];

        public void Report(double value)
        {
            Shares.Add(value);
            then(value);
        }
    }
}
