using System.Text.Json.Nodes;

namespace KernelForge.Tests;

public class EngineLoadTests
{
    [Fact]
    public void Load_TinyModelWithTokenizer_AnswersAPrompt()
    {
        using TinyModel tiny = TinyModel.Create("llama", DType.BF16);
        tiny.WriteTokenizer();
        using Engine engine = Engine.Load(tiny.Folder, new EngineOptions { KvBlocks = 8 });

        Completion completion = engine.Generate([engine.CreateRequest("hello", new SamplingOptions { MaxTokens = 5, IgnoreEndToken = true })])[0];

        Assert.Equal(5, completion.TokenIds.Count);
        Assert.Equal(5, completion.PromptTokens);
        Assert.Equal("LlamaForCausalLM", engine.Model!.Architecture);
        Assert.Null(engine.ChatTemplate);
    }

    [Fact]
    public void Dispose_GivesTheMemoryBack()
    {
        using TinyModel tiny = TinyModel.Create("llama", DType.BF16);
        tiny.WriteTokenizer();
        using Device device = Device.OpenCpu();

        Engine.Load(tiny.Folder, new EngineOptions { KvBlocks = 8 }, device).Dispose();

        Assert.Equal(0, device.AllocatedBytes);
    }

    [Fact]
    public void Load_FailsHalfWay_GivesTheMemoryBack()
    {
        using TinyModel tiny = TinyModel.Create("llama", DType.BF16);
        tiny.WriteTokenizer();
        using Device device = Device.OpenCpu();

        Assert.Throws<ArgumentException>(() => Engine.Load(tiny.Folder, new EngineOptions { KvMemoryBytes = 10 }, device));

        Assert.Equal(0, device.AllocatedBytes);
    }

    [Fact]
    public void Load_NoTokenizer_SaysSo()
    {
        using TinyModel tiny = TinyModel.Create("llama");
        Assert.Contains("no tokenizer.json", Assert.Throws<ModelFormatException>(() => Engine.Load(tiny.Folder)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Load_MoreMemoryThanTheMachineHas_SaysForWhat()
    {
        using TinyModel tiny = TinyModel.Create("llama");
        tiny.WriteTokenizer();

        string message = Assert.Throws<InsufficientMemoryException>(() => Engine.Load(tiny.Folder, new EngineOptions { KvMemoryBytes = 1L << 42 })).Message;

        Assert.Matches("weights .*, KV cache .* GiB and intermediate results .* need .*, there are .* on CPU", message);
    }

    [Theory]
    [InlineData(15_000)] // the table of rotary angles fits, one layer's keys and values too, the second layer's do not
    [InlineData(25_000)] // the intermediate results do not
    public void Load_DeviceRunsOutOfMemory_SaysForWhatAndGivesBackWhatItTook(long bytes)
    {
        using TinyModel tiny = TinyModel.Create("llama", DType.BF16);
        tiny.WriteTokenizer();
        using var device = new MemoryDevice(bytes);

        string message = Assert.Throws<InsufficientMemoryException>(
            () => Engine.Load(tiny.Folder, new EngineOptions { KvBlocks = 2, ContextLength = 64 }, device)).Message;

        Assert.Matches("weights .*, KV cache .* and intermediate results .* need ", message);
        Assert.Equal(0, device.AllocatedBytes);
    }

    [Theory]
    [InlineData(DType.BF16, DType.BF16)]
    [InlineData(DType.F16, DType.F16)]
    [InlineData(DType.F32, DType.F16)]
    public void Load_DeviceWithItsOwnMemory_TakesTheWeightsTypeAndAShareOfWhatIsFree(DType stored, DType expected)
    {
        using TinyModel tiny = TinyModel.Create("llama", stored);
        tiny.WriteTokenizer();
        using var gpu = new MemoryDevice(4 << 20, isCpu: false);
        List<double> shares = [];

        using Engine engine = Engine.Load(tiny.Folder, new EngineOptions { ContextLength = 64, MaxSequences = 8 }, gpu, new Listener(shares.Add));

        EngineMemory memory = engine.Memory!.Value;
        Assert.Equal((expected, expected), (engine.Options!.ComputeType, engine.Options.KvType));
        Assert.InRange(memory.KvCache, (long)(0.85 * (4 << 20) - 0.85 * (memory.Weights + memory.Intermediate)) - 2 * memory.BytesPerBlock, (long)(0.85 * (4 << 20)));
        Assert.InRange(memory.Total - gpu.AllocatedBytes, 0, 1000);
        Assert.Equal(shares.Order(), shares);
        Assert.Equal(1, shares[^1]);
    }

    [Fact]
    public void Load_Cancelled_GivesTheMemoryBack()
    {
        using TinyModel tiny = TinyModel.Create("llama", DType.BF16);
        tiny.WriteTokenizer();
        using var gpu = new MemoryDevice(4 << 20, isCpu: false);
        using var stop = new CancellationTokenSource();
        var half = new Listener(share => { if (share > 0.5) stop.Cancel(); });

        Assert.Throws<OperationCanceledException>(() => Engine.Load(tiny.Folder, new EngineOptions { ContextLength = 64, MaxSequences = 8 }, gpu, half, stop.Token));

        Assert.Equal(0, gpu.AllocatedBytes);
    }

    [Fact]
    public void Load_MoreThanTheDeviceHas_SaysSoBeforeAnythingIsUploaded()
    {
        using TinyModel tiny = TinyModel.Create("llama", DType.BF16);
        tiny.WriteTokenizer();
        using var gpu = new MemoryDevice(200_000, isCpu: false);

        string message = Assert.Throws<InsufficientMemoryException>(() => Engine.Load(
            tiny.Folder, new EngineOptions { ContextLength = 64 }, gpu, new Listener(_ => Assert.Fail("weights were uploaded")))).Message;

        Assert.Contains("there are 0.2 MiB on a device with 200000 bytes", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Load_TypeTheDeviceDoesNotTake_SaysWhichItTakes()
    {
        using TinyModel tiny = TinyModel.Create("llama", DType.BF16);
        tiny.WriteTokenizer();
        using var gpu = new MemoryDevice(4 << 20, isCpu: false);
        string Refused(EngineOptions options) => Assert.Throws<ArgumentException>(() => Engine.Load(tiny.Folder, options, gpu)).Message;

        Assert.Equal("EngineOptions.ComputeType must be F16 or BF16 on a device with 4194304 bytes, not F32.", Refused(new() { ComputeType = DType.F32 }));
        Assert.Equal("EngineOptions.KvType must be the type of the activations, BF16, on a device with 4194304 bytes, not F16.", Refused(new() { KvType = DType.F16 }));
    }

    [Fact]
    public void Load_TemplateOutsideTheSubset_StillAnswersPrompts()
    {
        using TinyModel tiny = TinyModel.Create("llama", DType.BF16);
        tiny.WriteTokenizer();
        File.WriteAllText(Path.Combine(tiny.Folder, "chat_template.jinja"), "{% include 'other' %}");
        using Engine engine = Engine.Load(tiny.Folder, new EngineOptions { KvBlocks = 8 });

        Assert.Single(engine.Generate([engine.CreateRequest("hello", new SamplingOptions { MaxTokens = 1 })]));
        string message = Assert.Throws<ChatTemplateException>(() => engine.ChatTemplate!.Render([new("user", "hello")])).Message;
        Assert.Contains("include", message, StringComparison.Ordinal);
        Assert.Equal(message, engine.ChatTemplate!.Complaint);
    }

    [Theory]
    [InlineData(DType.F16)]
    [InlineData(DType.BF16)]
    public void KvType_Narrow_HalvesTheCacheAndChangesOnlyRounding(DType type)
    {
        using TinyModel tiny = TinyModel.Create("llama", DType.BF16);
        EngineMemory wide = EngineMemory.Of(Device.Cpu, tiny.Config, 0, new EngineOptions { KvBlocks = 8 });
        EngineMemory narrow = EngineMemory.Of(Device.Cpu, tiny.Config, 0, new EngineOptions { KvBlocks = 8, KvType = type });
        Assert.Equal(wide.KvCache, 2 * narrow.KvCache);

        var options = new SchedulerOptions { BlockCount = 8, ContextLength = 64 };
        var request = new Request([5, 6, 7, 8], new SamplingOptions { MaxTokens = 1 });
        using ModelRun exact = new(tiny, options), rounded = new(tiny, options, kvType: type);
        exact.Run([request]);
        rounded.Run([request]);

        float[] a = exact.Logits[(request, 0, 4)], b = rounded.Logits[(request, 0, 4)];
        double largest = a.Max(MathF.Abs), difference = a.Zip(b, (x, y) => Math.Abs(x - y)).Max();
        Assert.InRange(difference, double.Epsilon, 64 * Close.UnitRoundoff(type) * largest);
    }

    [Theory]
    [InlineData(null)]
    [InlineData(3)]
    public void Load_WithDraftModel_AnswersTheSameAndDividesTheMemory(int? length)
    {
        using TinyModel tiny = TinyModel.Create("qwen3", DType.BF16), small = TinyModel.Create("mistral", DType.BF16, seed: 1);
        tiny.WriteTokenizer();
        small.WriteTokenizer();
        using Device device = Device.OpenCpu();
        var options = new EngineOptions { KvMemoryBytes = 1 << 20, ContextLength = 64, TokenBudget = 32, MaxSequences = 4 };
        int[][] expected = Answers(options, out _);

        int[][] drafted = Answers(options with { Speculation = new SpeculationOptions { DraftModel = small.Folder, DraftLength = length } }, out Engine engine);

        Assert.Equal(expected, drafted);
        Assert.True(engine.Speculation!.Drafted > 0);
        EngineMemory memory = engine.Memory!.Value;
        Assert.Equal(KvCache.BytesPerBlock(tiny.Config, 16, DType.F32) + KvCache.BytesPerBlock(small.Config, 16, DType.F32), memory.BytesPerBlock);
        Assert.InRange(memory.KvCache, (1 << 20) - memory.BytesPerBlock, 1 << 20);
        Assert.Equal(0, device.AllocatedBytes);

        int[][] Answers(EngineOptions options, out Engine engine)
        {
            engine = Engine.Load(tiny.Folder, options, device);
            var sampling = new SamplingOptions { MaxTokens = 20, IgnoreEndToken = true };
            int[][] answers = [.. engine.Generate([engine.CreateRequest("hello", sampling), engine.CreateRequest("he", sampling)]).Select(answer => answer.TokenIds.ToArray())];
            long mapped = PackedModels.MappedBytes(tiny) + (options.Speculation is null ? 0 : PackedModels.MappedBytes(small));
            Assert.InRange(engine.Memory!.Value.Total - device.AllocatedBytes, mapped, mapped + 2000);
            engine.Dispose();
            return answers;
        }
    }

    [Fact]
    public void Load_DraftModelWithAShorterContext_DraftsNoFurther()
    {
        using TinyModel tiny = TinyModel.Create("llama", DType.BF16), small = TinyModel.Create("llama", DType.BF16);
        tiny.WriteTokenizer();
        small.WriteTokenizer();
        JsonObject config = TinyModel.ConfigOf("llama");
        config["max_position_embeddings"] = 20;
        small.WriteConfig(config);
        var options = new EngineOptions { KvBlocks = 16, Speculation = new SpeculationOptions { DraftModel = small.Folder, DraftLength = 4 } };
        using Engine plain = Engine.Load(tiny.Folder, options with { Speculation = null }), engine = Engine.Load(tiny.Folder, options);
        Request Ask() => engine.CreateRequest("hello", new SamplingOptions { MaxTokens = 60, IgnoreEndToken = true });

        IReadOnlyList<int> drafted = engine.Generate([Ask()])[0].TokenIds;

        Assert.Equal(plain.Generate([Ask()])[0].TokenIds, drafted);
        Assert.InRange(engine.Speculation!.Accepted, 8, 20 - 5); // the model drafts for itself, until its context ends
    }

    [Fact]
    public void Load_DraftModelOfAnotherVocabulary_NamesBothFoldersAndTheDifference()
    {
        using TinyModel tiny = TinyModel.Create("llama", DType.BF16), other = TinyModel.Create("llama", DType.BF16);
        tiny.WriteTokenizer();
        other.WriteTokenizer();
        using Device device = Device.OpenCpu();
        string Refused() => Assert.Throws<ModelFormatException>(
            () => Engine.Load(tiny.Folder, new EngineOptions { Speculation = new SpeculationOptions { DraftModel = other.Folder } }, device)).Message;

        string tokenizer = Path.Combine(other.Folder, "tokenizer.json"), text = File.ReadAllText(tokenizer);
        File.WriteAllText(tokenizer, text.Replace("\"a\":", "\"%%\":", StringComparison.Ordinal));
        Assert.Equal(
            $"The draft model {other.Folder} does not have the vocabulary of the model {tiny.Folder}: token id {2 + 'a' - '!'} is '%%' in one, 'a' in the other.", Refused());
        File.WriteAllText(tokenizer, text);
        JsonObject config = TinyModel.ConfigOf("llama");
        config["vocab_size"] = 96;
        other.WriteConfig(config);
        Assert.Contains("one has 96 token ids, the other 97.", Refused(), StringComparison.Ordinal);
        Assert.Equal(0, device.AllocatedBytes);
    }

    [Fact]
    public void Load_DraftModelThatDoesNotFit_GivesTheMemoryBack()
    {
        using TinyModel tiny = TinyModel.Create("llama", DType.BF16), small = TinyModel.Create("llama", DType.BF16, seed: 1);
        tiny.WriteTokenizer();
        small.WriteTokenizer();
        var options = new EngineOptions { KvBlocks = 2, ContextLength = 64, TokenBudget = 8, MaxSequences = 2, Speculation = new SpeculationOptions { DraftModel = small.Folder } };
        using var large = new MemoryDevice(1 << 30);
        Engine.Load(tiny.Folder, options, large).Dispose();

        for (long bytes = 1000; bytes < 4 << 20; bytes *= 2)
        {
            using var device = new MemoryDevice(bytes);
            if (Record.Exception(() => Engine.Load(tiny.Folder, options, device).Dispose()) is { } error) Assert.IsType<InsufficientMemoryException>(error);
            Assert.Equal(0, device.AllocatedBytes);
        }
    }

    private sealed class Listener(Action<double> report) : IProgress<double>
    {
        public void Report(double value) => report(value);
    }
}
