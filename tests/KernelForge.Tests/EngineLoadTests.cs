using System.Runtime.InteropServices;

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

        Assert.Matches("weights .*, KV cache .* GiB and intermediate results .* need .*, there are ", message);
    }

    [Theory]
    [InlineData(15_000)] // the table of rotary angles fits, one layer's keys and values too, the second layer's do not
    [InlineData(25_000)] // the intermediate results do not
    public void Load_DeviceRunsOutOfMemory_SaysForWhatAndGivesBackWhatItTook(long bytes)
    {
        using TinyModel tiny = TinyModel.Create("llama", DType.BF16);
        tiny.WriteTokenizer();
        using var device = new SmallDevice(bytes);

        string message = Assert.Throws<InsufficientMemoryException>(
            () => Engine.Load(tiny.Folder, new EngineOptions { KvBlocks = 2, ContextLength = 64 }, device)).Message;

        Assert.Matches("weights .*, KV cache .* and intermediate results .* need ", message);
        Assert.Equal(0, device.AllocatedBytes);
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
        EngineMemory wide = EngineMemory.Of(tiny.Config, 0, new EngineOptions { KvBlocks = 8 });
        EngineMemory narrow = EngineMemory.Of(tiny.Config, 0, new EngineOptions { KvBlocks = 8, KvType = type });
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

    /// <summary>A CPU with so many bytes for buffers. It computes nothing.</summary>
    private sealed class SmallDevice(long capacity) : Device
    {
        public override string Name => $"CPU with {capacity} bytes";

        public override bool IsCpu => true;

        public override Operators Operators => Cpu.Operators;

        public override void Synchronize()
        {
        }

        protected override void Dispose(bool disposing)
        {
        }

        protected override nint AllocateCore(long bytes) =>
            Marshal.AllocHGlobal(AllocatedBytes + bytes <= capacity ? (nint)bytes : nint.MaxValue); // what no machine has

        protected override void FreeCore(nint address) => Marshal.FreeHGlobal(address);

        protected internal override void CopyToDevice(ReadOnlySpan<byte> source, nint destination) => Marshal.Copy(source.ToArray(), 0, destination, source.Length);

        protected internal override void CopyToHost(nint source, Span<byte> destination) => throw new NotSupportedException();
    }
}
