using KernelForge.Inference;

namespace KernelForge.Tests;

/// <summary>Engines over a <see cref="HashRunner"/> with a real tokenizer whose tokens are letters, syllables and halves of characters.</summary>
internal static class TestEngines
{
    public const int ContextLength = 128;

    public static BpeTokenizer Tokenizer { get; } = MakeTokenizer();

    public static SchedulerOptions Options { get; } = new()
    {
        BlockCount = 256, BlockSize = 4, ContextLength = ContextLength, TokenBudget = 32, MaxSequences = 8, EndTokenIds = [HashRunner.EndToken],
    };

    public static Engine Create(
        SchedulerOptions? options = null, Func<IStepRunner, IStepRunner>? wrap = null, bool withText = true, TimeProvider? clock = null,
        TimeoutPolicy timeouts = TimeoutPolicy.End)
    {
        options ??= Options;
        IStepRunner runner = new HashRunner(options.BlockCount, options.BlockSize, options.MaxTokensPerStep);
        return new Engine(new Scheduler(options), wrap?.Invoke(runner) ?? runner, HashRunner.VocabularySize, withText ? Tokenizer : null, timeouts, clock);
    }

    /// <summary>A request that ends after exactly this many tokens.</summary>
    public static Request Fixed(int maxTokens, params int[] prompt) =>
        new(prompt, new SamplingOptions { MaxTokens = maxTokens, IgnoreEndToken = true });

    private static BpeTokenizer MakeTokenizer()
    {
        byte[] accents = [0xC3, 0xA9, 0xE2, 0x82, 0xAC]; // parts of two- and three-byte characters
        var tokens = new string[HashRunner.VocabularySize];
        for (int id = 0; id < tokens.Length; id++)
        {
            tokens[id] = id switch
            {
                < 5 => ByteAlphabet.CharacterOf(accents[id]).ToString(),
                < 31 => ((char)('a' + id - 5)).ToString(),
                < 57 => $"{(char)('a' + id - 31)}{(char)('A' + id - 31)}",
                _ => new string(ByteAlphabet.CharacterOf((byte)' '), id - 56),
            };
        }
        return TokenizerLoader.Parse(TokenizerFiles.Write(tokens, [], TokenizerFiles.ByteLevelGpt2, """{"type":"ByteLevel"}"""));
    }
}

/// <summary>Calls <paramref name="beforeStep"/> with the number of the step, from 1, before another runner carries it out.</summary>
internal sealed class ObservedRunner(IStepRunner inner, Action<int> beforeStep) : IStepRunner, IDisposable
{
    private int _steps;

    public bool IsDisposed { get; private set; }

    public int MaxTokensPerStep => inner.MaxTokensPerStep;

    public static Action<int> FailAt(int failing) => step =>
    {
        if (step == failing) throw new TimeoutException("device");
    };

    public StepResult Run(StepPlan plan)
    {
        beforeStep(++_steps);
        return inner.Run(plan);
    }

    public void Dispose() => IsDisposed = true;
}
