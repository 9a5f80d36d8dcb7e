using System.Collections.Concurrent;

namespace KernelForge.Tests;

/// <summary>The equivalence matrix on a real model: tokens must be equal and the logits they were chosen from too, bit for bit, on each device.</summary>
public class ModelEquivalenceTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private const int All = int.MaxValue, FewTokens = 6; // of an answer: emulation is slow

    private static readonly int[] Budgets = [1, 7, 256];
    private static readonly int[] BlockSizes = [4, 16];
    private static readonly int[] MaxSequences = [1, 3, 32];
    private static readonly string[] Families = ["llama", "qwen3"];
    private static readonly DType[] ComputeTypes = [DType.BF16, DType.F16, DType.F32];

    // null: not quantised. In groups of 32, which divide all widths of the models.
    private static readonly (QuantizationMethod Method, WeightFormat Format, bool HasOrder)?[] Weights =
        [null, (QuantizationMethod.Gptq, WeightFormat.W4Group32, true), (QuantizationMethod.CompressedTensors, new WeightFormat(8, 0, true), false)];

    private static readonly int?[] DraftLengths = [4, 1, null, 2, 3, 5, 6, 7, 8]; // null adapts

    // What a device answers depends on samples, sampling, family, type, weights and activations alone.
    private static readonly ConcurrentDictionary<(string Device, int, int, int, int, int, ActivationPrecision), Lazy<Answers>> Expected = new();

    // budget, block size, prefix cache, admission, arrival, max sequences, KV, samples, sampling, family, prefix groups, weights, drafter, type, draft length; on the
    // CPU all drafters, a third type, all draft lengths, threads, activations, and the library
    private static readonly int[] Levels = [3, 2, 2, 2, 2, 3, 2, 2, 2, 2, 2, 3], CudaLevels = [.. Levels, 4, 2, 2], CpuLevels = [.. Levels, 7, 3, 9, 2, 3, 2];

    public static TheoryData<string> Cases => [.. Pairwise.Cover(CpuLevels, seed: 9).Select(row => string.Concat(row))];

    public static TheoryData<string, string> CudaCases
    {
        get
        {
            var data = new TheoryData<string, string>();
            foreach (string device in Devices.CudaNames)
                foreach (int[] row in Pairwise.Cover(CudaLevels, seed: 9)) data.Add(device, string.Concat(row));
            return data;
        }
    }

    [Theory, MemberData(nameof(Cases))]
    public void LogitsAndTokens_AnyCombination_AreThoseOfOneRequestAtATime(string factors)
    {
        using Device device = Device.OpenCpu(new CpuDeviceOptions { Threads = factors[15] - '0' + 1, Native = factors[17] == '0' });
        AssertSame(device, Device.Cpu, factors, mostTokens: All);
    }

    [DeviceTheory, MemberData(nameof(CudaCases))]
    public void LogitsAndTokens_AnyCombinationOnCuda_AreThoseOfOneRequestAtATime(string deviceName, string factors) =>
        AssertSame(devices.Open(deviceName), devices.Open(deviceName), factors, FewTokens);

    private static void AssertSame(Device device, Device other, string factors, int mostTokens)
    {
        int[] f = factors.Select(digit => digit - '0').ToArray();
        List<Request> requests = Workload.Requests(samples: f[7] == 0 ? 1 : 3, temperature: f[8], mostTokens);
        int blockSize = BlockSizes[f[1]], largest = (Workload.ContextLength + blockSize - 1) / blockSize;
        var options = new SchedulerOptions
        {
            BlockCount = f[6] == 0 ? largest + 2 : 20 * largest,
            BlockSize = blockSize,
            ContextLength = Workload.ContextLength,
            TokenBudget = Budgets[f[0]],
            MaxSequences = MaxSequences[f[5]],
            PrefixCache = f[2] == 0,
            EndTokenIds = [HashRunner.EndToken],
            Admission = f[3] == 0 ? new ReserveAllAdmission() : new AggressiveAdmission(),
        };
        var drafts = new Drafts((Drafter)f[12], DraftLengths[f[14]]);
        ActivationPrecision activations = f.Length > 16 ? (ActivationPrecision)f[16] : ActivationPrecision.Full;
        Answers actual = AnswersOf(requests, f[4] == 1, options, device, Families[f[9]], Weights[f[11]], ComputeTypes[f[13]], prefixGroups: f[10] == 0, drafts, activations);

        SchedulerOptions alone = options with { BlockCount = 20 * largest, TokenBudget = 256, MaxSequences = 1, PrefixCache = false };
        Answers expected = Expected.GetOrAdd((other.Name, f[7], f[8], f[9], f[11], f[13], activations), _ => new Lazy<Answers>(
            () => AnswersOf(requests, isReversed: false, alone, other, Families[f[9]], Weights[f[11]], ComputeTypes[f[13]], prefixGroups: false, drafts: null, activations))).Value;
        Assert.Equal(expected.Tokens.Count, actual.Tokens.Count);
        foreach ((var key, int[] tokens) in expected.Tokens) Assert.Equal(tokens, actual.Tokens[key]);
        Assert.Equal(expected.Logits.Count, actual.Logits.Count);
        foreach ((var key, float[] logits) in expected.Logits) Close.AssertSameBits(logits, actual.Logits[key]);
    }

    private static Answers AnswersOf(
        List<Request> requests, bool isReversed, SchedulerOptions options, Device device, string family,
        (QuantizationMethod Method, WeightFormat Format, bool HasOrder)? weights, DType type, bool prefixGroups, Drafts? drafts, ActivationPrecision activations)
    {
        using TinyModel tiny = weights is { } stored
            ? TinyModel.CreateQuantized(family, stored.Method, stored.Format, stored.HasOrder)
            : TinyModel.Create(family, DType.BF16);
        using TinyModel unlike = TinyModel.Create("llama", DType.BF16, seed: 1);
        using var run = new ModelRun(tiny, options, device, type, prefixGroups: prefixGroups, speculation: drafts?.Of(tiny.Folder, unlike.Folder), activations: activations);
        IReadOnlyList<Sequence> sequences = run.Run(isReversed ? requests.AsEnumerable().Reverse() : requests);
        return new Answers(
            sequences.ToDictionary(sequence => (requests.IndexOf(sequence.Request), sequence.SampleIndex), sequence => sequence.OutputTokens.ToArray()),
            run.Logits.ToDictionary(entry => (requests.IndexOf(entry.Key.Request), entry.Key.Sample, entry.Key.Position), entry => entry.Value));
    }

    /// <summary>Who proposes tokens: nobody, n-grams, a model with other weights, the model itself, which is always right; and the forms of these.</summary>
    private enum Drafter
    {
        None,
        SameModel,
        SameTree,
        UnlikeModel,
        UnlikeTree,
        NGram,
        Staged,
    }

    private sealed record Drafts(Drafter Drafter, int? Length)
    {
        public SpeculationOptions? Of(string same, string unlike) => Drafter == Drafter.None ? null : new SpeculationOptions
        {
            DraftLength = Length,
            DraftModel = Drafter switch { Drafter.NGram => null, Drafter.UnlikeModel or Drafter.UnlikeTree => unlike, _ => same },
            Branches = Drafter is Drafter.UnlikeTree or Drafter.SameTree ? 3 : 1,
            Staged = Drafter == Drafter.Staged,
        };
    }

    /// <summary>Tokens by request and sample, and the logits that each was chosen from.</summary>
    private sealed record Answers(Dictionary<(int Request, int Sample), int[]> Tokens, Dictionary<(int Request, int Sample, int Position), float[]> Logits);
}
