namespace KernelForge.Tests;

/// <summary>The equivalence matrix on a real model on the CPU: tokens must be equal and the logits they were chosen from too, bit for bit.</summary>
public class ModelEquivalenceTests
{
    private static readonly int[] Budgets = [1, 7, 256];
    private static readonly int[] BlockSizes = [4, 16];
    private static readonly int[] MaxSequences = [1, 3, 32];
    private static readonly string[] Families = ["llama", "qwen3"];

    public static TheoryData<string> Cases
    {
        get
        {
            // budget, block size, prefix cache, admission, arrival, max sequences, KV, samples, sampling, threads, family
            var data = new TheoryData<string>();
            foreach (int[] row in Pairwise.Cover([3, 2, 2, 2, 2, 3, 2, 2, 2, 2, 2], seed: 9)) data.Add(string.Concat(row));
            return data;
        }
    }

    [Theory, MemberData(nameof(Cases))]
    public void LogitsAndTokens_AnyCombination_AreThoseOfOneRequestAtATime(string factors)
    {
        int[] f = factors.Select(digit => digit - '0').ToArray();
        List<Request> requests = Workload.Requests(samples: f[7] == 0 ? 1 : 3, temperature: f[8]);
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
        using TinyModel tiny = TinyModel.Create(Families[f[10]], DType.BF16);
        using Device device = Device.OpenCpu(new CpuDeviceOptions { Threads = f[9] + 1 });
        using var run = new ModelRun(tiny, options, device);
        using var alone = new ModelRun(tiny, options with { BlockCount = 20 * largest, TokenBudget = 256, MaxSequences = 1, PrefixCache = false });

        IReadOnlyList<Sequence> actual = run.Run(f[4] == 0 ? requests : requests.AsEnumerable().Reverse());
        var expectedTokens = alone.Run(requests).ToDictionary(sequence => (sequence.Request, sequence.SampleIndex), sequence => sequence.OutputTokens.ToArray());

        foreach (Sequence sequence in actual) Assert.Equal(expectedTokens[(sequence.Request, sequence.SampleIndex)], sequence.OutputTokens.ToArray());
        Assert.Equal(alone.Logits.Count, run.Logits.Count);
        foreach ((var key, float[] expected) in alone.Logits) Close.AssertSameBits(expected, run.Logits[key]);
    }
}
