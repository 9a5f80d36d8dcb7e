using System.Collections.Concurrent;

namespace KernelForge.Tests;

/// <summary>
/// The demo pair: whoever drafts, however many tokens, and whatever goes on beside it, answers are those of plain decoding. A sample of the combinations on few
/// prompts; with <c>KF_ALL_DRAFTS=1</c> all of them on all prompts.
/// </summary>
public class SpeculationDemoTests
{
    private const int Greedy = 0;

    private static readonly bool IsComplete = Environment.GetEnvironmentVariable("KF_ALL_DRAFTS") == "1";
    private static readonly int ScarceBlocks = IsComplete ? 400 : 210; // of 4 positions
    private static readonly string Folder = Path.Combine(Repository.Root, "samples", "tickets");
    private static readonly SpeculationOptions OfModel = new() { DraftModel = Path.Combine(Folder, "draft") };
    private static readonly SpeculationOptions[] Drafters =
        [new(), OfModel, OfModel with { Staged = true }, OfModel with { Branches = 3 }, OfModel with { Branches = 3, EarlyPruning = new(Layers: 2, Keep: 2) }];
    private static readonly int?[] DraftLengths = [1, 2, 3, 4, 5, 6, 7, 8, null]; // null adapts
    private static readonly int[] MaxSequences = [1, 4, 32], TokenBudgets = [512, 48];
    private static readonly ConcurrentDictionary<int, Lazy<int[][]>> Expected = new();

    // drafter, draft length, most sequences, sampling; token budget, prefix groups, scarce blocks with preemption, cancelled requests beside the others
    private static readonly int[] Levels = [Drafters.Length, DraftLengths.Length, MaxSequences.Length, 2, 2, 2, 2, 2];

    public static TheoryData<string> Cases => [.. (IsComplete ? Everything() : Pairwise.Cover(Levels, seed: 3)).Select(row => string.Concat(row))];

    [Theory, MemberData(nameof(Cases))]
    public void Tokens_DemoPrompts_EqualPlainDecoding(string factors)
    {
        int[] f = [.. factors.Select(digit => digit - '0')];
        var options = new EngineOptions
        {
            MaxSequences = MaxSequences[f[2]],
            TokenBudget = TokenBudgets[f[4]],
            PrefixGroups = f[5] == 0,
            KvBlocks = f[6] == 0 ? 3000 : ScarceBlocks,
            BlockSize = f[6] == 0 ? 16 : 4,
            Admission = f[6] == 0 ? new ReserveAllAdmission() : new AggressiveAdmission(),
            Speculation = Drafters[f[0]] with { DraftLength = DraftLengths[f[1]] },
        };

        int[][] answers = Answers(options, f[3], cancelsOthers: f[7] == 1, out _, out SpeculationCounters? drafts);

        int[][] expected = Expected.GetOrAdd(f[3], sampling => new Lazy<int[][]>(
            () => Answers(new EngineOptions { KvBlocks = 3000, MaxSequences = 32 }, sampling, cancelsOthers: false, out _, out _))).Value;
        Assert.Equal(expected.Length, answers.Length);
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], answers[i]);
        if (DraftLengths[f[1]] is not null) Assert.True(drafts!.Accepted > 0, "No draft was accepted."); // what adapts may stay without where drafts do not pay
        if (Drafters[f[0]].Branches == 1) Assert.Equal(0, drafts!.KvBytesMoved);
    }

    [Fact]
    public void Cases_ScarceBlocks_DoPreempt()
    {
        foreach (SpeculationOptions drafter in Drafters)
        {
            var options = new EngineOptions
            {
                KvBlocks = ScarceBlocks, BlockSize = 4, Admission = new AggressiveAdmission(), MaxSequences = 32, Speculation = drafter with { DraftLength = 4 },
            };

            Answers(options, Greedy, cancelsOthers: false, out SchedulerCounters counters, out _);

            Assert.True(counters.Preemptions > 0, "The cases would not test preemption.");
        }
    }

    public static TheoryData<int, int?> Drafts
    {
        get
        {
            var data = new TheoryData<int, int?>();
            for (int drafter = 0; drafter < Drafters.Length; drafter++)
                foreach (int? length in (int?[])[5, null]) data.Add(drafter, length);
            return data;
        }
    }

    // What looks at tokens before, at their number or at their text, and what is reported of them.
    [Theory, MemberData(nameof(Drafts))]
    public void Completions_EveryOption_EqualPlainDecoding(int drafter, int? length)
    {
        Completion[] expected = Completions(null), actual = Completions(Drafters[drafter] with { DraftLength = length });

        Assert.Equal(expected.Length, actual.Length);
        foreach ((Completion plain, Completion drafted) in expected.Zip(actual))
        {
            Assert.Equal(plain.TokenIds, drafted.TokenIds);
            Assert.Equal((plain.Text, plain.FinishReason, plain.SampleIndex), (drafted.Text, drafted.FinishReason, drafted.SampleIndex));
            Assert.Equal(plain.LogProbs?.Count, drafted.LogProbs?.Count);
            foreach ((TokenLogProbs a, TokenLogProbs b) in (plain.LogProbs ?? []).Zip(drafted.LogProbs ?? []))
            {
                Assert.Equal(a.Chosen, b.Chosen);
                Assert.Equal(a.Top, b.Top);
            }
        }
    }

    private static Completion[] Completions(SpeculationOptions? speculation)
    {
        using Engine engine = Engine.Load(Path.Combine(Folder, "model"), new EngineOptions { KvBlocks = 3000, MaxSequences = 8, Speculation = speculation });
        var most = new SamplingOptions { MaxTokens = 40 };
        SamplingOptions[] kinds =
        [
            most with { LogProbs = 3 },
            most with { LogProbs = 0, Temperature = 0.8f, Seed = 4, N = 3 },
            most with { RepetitionPenalty = 1.3f },
            most with { PresencePenalty = 0.7f, FrequencyPenalty = 0.4f, Temperature = 0.8f, LogProbs = 1 },
            most with { MinTokens = 35 },
            most with { LogitBias = new Dictionary<int, float> { [1] = 6, [40] = -100 }, MinTokens = 12 },
            most with { StopStrings = ["\":\"", "zzz"] },
            most with { StopStrings = ["\","], IncludeStopString = true, MinTokens = 9 },
            most with { IgnoreEndToken = true, TopK = 4, Temperature = 1.2f },
            most with { TopP = 0.9f, MinP = 0.02f, Temperature = 1.5f, N = 2 },
            most with { StopTokenIds = [60, 61, 62, 63, 64, 65], IgnoreEndToken = true },
            most with { MaxTokens = 1 },
        ];
        string[] prompts = Prompts();
        return [.. engine.Generate(kinds.Select((sampling, i) => engine.CreateRequest(prompts[i % prompts.Length], sampling)))];
    }

    private static int[][] Answers(EngineOptions options, int sampling, bool cancelsOthers, out SchedulerCounters counters, out SpeculationCounters? drafts)
    {
        using Device device = Device.OpenCpu(new CpuDeviceOptions { Threads = 1 }); // so that cases can run side by side
        using Engine engine = Engine.Load(Path.Combine(Folder, "model"), options, device);
        string[] prompts = Prompts();
        Sequence[] sequences = [.. prompts.SelectMany((prompt, i) => engine.Add(engine.CreateRequest(prompt, SamplingOf(sampling, i))))];
        List<Sequence> others = [];
        for (int step = 0; engine.HasWork; step++)
        {
            if (cancelsOthers && step % 3 == 0 && others.Count < prompts.Length)
                others.AddRange(engine.Add(engine.CreateRequest(prompts[others.Count], SamplingOf(1, 1000 + step))));
            if (step % 5 == 4 && others.Count > 0) engine.Cancel(others[step / 5 % others.Count]);
            engine.Step();
        }
        (counters, drafts) = (engine.Counters, engine.Speculation);
        return [.. sequences.Select(sequence => sequence.OutputTokens.ToArray())];
    }

    private static SamplingOptions SamplingOf(int sampling, int seed) =>
        sampling == Greedy ? new SamplingOptions { MaxTokens = 64 } : new SamplingOptions { MaxTokens = 64, Temperature = 0.8f, Seed = (ulong)seed };

    /// <summary>All prompts, or a few behind the four shortest prefixes.</summary>
    private static string[] Prompts()
    {
        string[] all = [.. DemoModelTests.Samples().Select(sample => sample.Prompt)];
        return IsComplete ? all : [.. all.OrderBy(prompt => prompt.Length).Take(80).Where((_, i) => i % 5 == 0)];
    }

    /// <summary>Every drafter, draft length, number of sequences and sampling, the rest in turn.</summary>
    private static IEnumerable<int[]> Everything() =>
        from drafter in Enumerable.Range(0, Levels[0])
        from length in Enumerable.Range(0, Levels[1])
        from sequences in Enumerable.Range(0, Levels[2])
        from sampling in Enumerable.Range(0, Levels[3])
        let turn = drafter + 3 * length + 5 * sequences + 7 * sampling
        select new[] { drafter, length, sequences, sampling, turn & 1, (turn >> 1) & 1, (turn >> 2) & 1, (turn >> 3) & 1 };
}
