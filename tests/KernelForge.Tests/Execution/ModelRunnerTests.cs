using CommunityToolkit.HighPerformance;
using KernelForge.Cpu;
using KernelForge.Tests.Reference;

namespace KernelForge.Tests;

public class ModelRunnerTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private const int Blocks = 64;

    public static TheoryData<string, DType> Families
    {
        get
        {
            var data = new TheoryData<string, DType>();
            foreach (string family in TinyModel.Families)
                foreach (DType dtype in (DType[])[DType.F32, DType.BF16, DType.F16]) data.Add(family, dtype);
            return data;
        }
    }

    public static TheoryData<string, string, DType> NarrowCases
    {
        get
        {
            var data = new TheoryData<string, string, DType>();
            foreach (string device in (string[])[Devices.CpuNames[^1], .. Devices.CudaNames])
                foreach (string family in TinyModel.Families)
                    foreach (DType type in (DType[])[DType.BF16, DType.F16]) data.Add(device, family, type);
            return data;
        }
    }

    // 70 tokens cross a block, an attention tile of 64 positions and the unstretched context of the Llama-3 scaling.
    private static readonly int[] Tokens = [.. Enumerable.Range(0, 70).Select(i => i * 37 % 97)];

    [Theory, MemberData(nameof(Families))]
    public void Run_EveryFamily_LogitsAgreeWithDoublePrecision(string family, DType dtype)
    {
        using TinyModel tiny = TinyModel.Create(family, dtype);
        using var runner = new Runner(tiny, Device.Cpu, blockSize: 16);
        var reference = new ReferenceTransformer(tiny.Config, tiny.Tensor);

        float[][] logits = runner.Logits(Tokens, chunk: 1);

        (double[] Logits, double[] Magnitudes)[] expected = reference.Run(Tokens);
        for (int token = 0; token < Tokens.Length; token++)
            Close.AssertEqual(expected[token].Logits, logits[token], i => reference.Bound(expected[token].Magnitudes[i]));
    }

    [DeviceTheory, MemberData(nameof(NarrowCases))]
    public void Run_NarrowActivations_LogitsAgreeWithDoublePrecision(string deviceName, string family, DType dtype)
    {
        using TinyModel tiny = TinyModel.Create(family, dtype);
        using var runner = new Runner(tiny, devices.Open(deviceName), blockSize: 16, computeType: dtype);
        var reference = new ReferenceTransformer(tiny.Config, tiny.Tensor);

        float[][] logits = runner.Logits(Tokens, chunk: 16);

        (double[] Logits, double[] Magnitudes)[] expected = reference.Run(Tokens);
        foreach (int token in (int[])[15, 31, 47, 63, 69])
            Close.AssertEqual(expected[token].Logits, logits[token], i => reference.Bound(expected[token].Magnitudes[i], dtype));
    }

    [Theory]
    [InlineData("llama", 7, 16)]
    [InlineData("llama", 70, 16)]
    [InlineData("llama", 33, 4)]
    [InlineData("qwen2", 16, 32)]
    [InlineData("qwen3", 64, 1)]
    public void Run_OtherChunksAndBlocks_SameBits(string family, int chunk, int blockSize)
    {
        using TinyModel tiny = TinyModel.Create(family, DType.BF16);
        using var one = new Runner(tiny, Device.Cpu, blockSize: 16);
        using var other = new Runner(tiny, Device.Cpu, blockSize);

        float[][] expected = one.Logits(Tokens, chunk: 1), actual = other.Logits(Tokens, chunk);

        for (int token = 0; token < Tokens.Length; token++)
            if (actual[token].Length > 0) Close.AssertSameBits(expected[token], actual[token]);
        Assert.NotEmpty(actual[^1]);
    }

    [Fact]
    public void Run_BesideOtherSequences_SameBits()
    {
        using TinyModel tiny = TinyModel.Create("llama", DType.BF16);
        using var runner = new Runner(tiny, Device.Cpu, blockSize: 16);
        float[] expected = runner.Logits(Tokens, chunk: 70)[^1];
        var random = new Random(3);

        foreach (int others in (int[])[1, 2, 5, 8])
        {
            Sequence[] batch = [.. Enumerable.Range(0, others + 1).Select(i => runner.Sequence(i == others / 2 ? Tokens : [.. Tokens.Take(random.Next(1, 70)).Reverse()]))];
            float[][] logits = runner.Step([.. batch.Select(sequence => new PlanRow(sequence, 0, sequence.Length, 1))]);
            Close.AssertSameBits(expected, logits[others / 2]);
        }
    }

    [Fact]
    public void Run_EveryInstructionSetAndThreadCount_SameBits()
    {
        using TinyModel tiny = TinyModel.Create("qwen3", DType.F16);
        float[][]? expected = null;
        foreach (CpuInstructionSet set in Enum.GetValues<CpuInstructionSet>().Where(set => set <= CpuInstructionSets.Best))
            foreach (int threads in (int[])[1, 2, 3])
            {
                using Device device = Device.OpenCpu(new CpuDeviceOptions { Threads = threads, InstructionSet = set });
                using var runner = new Runner(tiny, device, blockSize: 16);
                float[][] logits = runner.Logits(Tokens, chunk: 35);
                expected ??= logits;
                Close.AssertSameBits(expected[^1], logits[^1]);
            }
    }

    [Fact]
    public void Run_DecodeSteadyState_AllocatesNothing()
    {
        using Device device = Device.OpenCpu(new CpuDeviceOptions { Threads = 1 });
        AssertDecodeAllocatesNothing(device);
    }

    [DeviceTheory, MemberData(nameof(Devices.AllCuda), MemberType = typeof(Devices))]
    public void Run_DecodeSteadyStateOnCuda_AllocatesNothing(string deviceName)
    {
        using Device device = Devices.OpenAlone(deviceName);
        AssertDecodeAllocatesNothing(device);
    }

    private static void AssertDecodeAllocatesNothing(Device device)
    {
        using TinyModel tiny = TinyModel.Create("llama", DType.BF16);
        using var runner = new Runner(tiny, device, blockSize: 16);
        var plan = new StepPlan(16);
        Sequence sequence = runner.Sequence(Tokens);
        runner.Step([new PlanRow(sequence, 0, 69, 1)]);
        plan.Add(new PlanRow(sequence, 69, 1, 1));
        for (int i = 0; i < 5; i++) runner.Product.Run(plan);

        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 10; i++) runner.Product.Run(plan);

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public void Run_Step_UploadsTwiceAndDownloadsOnce()
    {
        using TinyModel tiny = TinyModel.Create("llama", DType.BF16);
        using var device = new CountingDevice();
        using var runner = new Runner(tiny, device, blockSize: 16, computeType: DType.BF16);
        var plan = new StepPlan(16);
        for (int i = 0; i < 3; i++) plan.Add(new PlanRow(runner.Sequence(Tokens), 60, 10, 1));
        (device.Uploads, device.Downloads) = (0, 0);

        runner.Product.Run(plan);

        Assert.Equal((2, 1), (device.Uploads, device.Downloads)); // the batch and how to sample; the tokens
    }

    [Fact]
    public void Run_PlanOfAnotherBlockSize_Throws()
    {
        using TinyModel tiny = TinyModel.Create("llama");
        using var runner = new Runner(tiny, Device.Cpu, blockSize: 16);

        Assert.Contains("blocks of 8 positions, the KV cache blocks of 16", Assert.Throws<ArgumentException>(() => runner.Product.Run(new StepPlan(8))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Dispose_FreesAllDeviceMemory()
    {
        using TinyModel tiny = TinyModel.Create("llama");
        using Device device = Device.OpenCpu();
        new Runner(tiny, device, blockSize: 16).Dispose();
        Assert.Equal(0, device.AllocatedBytes);
    }

    [Theory]
    [InlineData("model.norm.weight")]
    [InlineData("model.layers.1.self_attn.k_proj.bias")]
    public void Load_TensorMissing_NamesIt(string name)
    {
        using TinyModel tiny = TinyModel.Create("qwen2");
        string[] names = ["model.embed_tokens.weight", name];
        TinyModel.WriteSafetensors(Path.Combine(tiny.Folder, "model.safetensors"), names.Take(1).Select(n => (n, (int[])[97, 64], new float[97 * 64])), DType.F32);

        Assert.Contains("is missing from the weights", Assert.Throws<ModelFormatException>(() => Transformer.Load(Device.Cpu, tiny.Folder)).Message, StringComparison.Ordinal);
    }

    /// <summary>A model runner without a scheduler: sequences get scattered blocks, steps are written by hand.</summary>
    private sealed class Runner : IDisposable
    {
        private readonly Queue<int> _free;
        private readonly int _blockSize;

        public Runner(TinyModel tiny, Device device, int blockSize, DType? computeType = null)
        {
            Transformer model = Transformer.Load(device, tiny.Folder, new EngineOptions { ComputeType = computeType });
            int blocks = Blocks * 16 / blockSize;
            var cache = new KvCache(device, model.Config.Layers, new KvFormat(blockSize, model.Config.KvHeads, model.Config.HeadDim, model.ComputeType), blocks);
            Product = new ModelRunner(model, cache, maxTokens: 700, maxRows: 10);
            _blockSize = blockSize;
            _free = new Queue<int>(Enumerable.Range(0, blocks).OrderBy(block => block * 7919 % 61));
        }

        public ModelRunner Product { get; }

        public Sequence Sequence(int[] tokens)
        {
            var sequence = new Sequence(0, new Request(tokens), 0, 1024);
            for (int position = 0; position < tokens.Length; position += _blockSize)
            {
                int block = _free.Dequeue();
                sequence.Table.Add(block);
                _free.Enqueue(block); // the oldest block comes round again when its sequence is long done
            }
            return sequence;
        }

        /// <summary>Logits after every chunk's last token; empty for the tokens between.</summary>
        public float[][] Logits(int[] tokens, int chunk)
        {
            Sequence sequence = Sequence(tokens);
            float[][] result = [.. tokens.Select(_ => Array.Empty<float>())];
            for (int start = 0; start < tokens.Length; start += chunk)
            {
                int length = Math.Min(chunk, tokens.Length - start);
                result[start + length - 1] = Step([new PlanRow(sequence, start, length, 1)])[0];
            }
            return result;
        }

        public float[][] Step(PlanRow[] rows)
        {
            var plan = new StepPlan(_blockSize);
            foreach (PlanRow row in rows) plan.Add(row);
            Product.Run(plan);
            DeviceMatrix logits = Product.LastLogits;
            float[,] all = logits.ToArray<float>();
            return [.. Enumerable.Range(0, rows.Length).Select(row => new ReadOnlySpan2D<float>(all).GetRowSpan(row).ToArray())];
        }

        public void Dispose() => Product.Dispose();
    }
}
