namespace KernelForge.Tests;

/// <summary>The requests that every case of the equivalence matrix answers.</summary>
internal static class Workload
{
    public const int ContextLength = 96;

    /// <summary>Prompts that share beginnings inside and at the end of blocks, are equal, are one token, or nearly fill the context.</summary>
    public static List<Request> Requests(int samples, float temperature, int mostTokens = int.MaxValue)
    {
        var random = new Random(11);
        int[] trunk = Tokens(random, 37), branch = [.. trunk.AsSpan(0, 32), .. Tokens(random, 9)];
        int[][] prompts =
        [
            [.. trunk, 1], trunk, [.. trunk, 2, 3, 4], branch, [.. branch, .. Tokens(random, 20)], branch, [5], [5, 6],
            Tokens(random, 16), Tokens(random, 17), Tokens(random, ContextLength - 3), [.. trunk, .. Tokens(random, 40)],
        ];
        return [.. prompts.Select((prompt, i) => new Request(prompt, new SamplingOptions
        {
            N = samples,
            Temperature = temperature,
            Seed = i % 3 == 0 ? null : (ulong)i,
            MaxTokens = Math.Min(1 + 7 * i % 30, mostTokens),
            MinTokens = i == 3 ? Math.Min(5, mostTokens) : 0,
            IgnoreEndToken = i % 4 == 2,
            StopTokenIds = i % 2 == 0 ? [] : [20, 40],
        })
        {
            Priority = i % 3, Tenant = $"t{i % 2}", Session = i % 4 == 0 ? "" : $"s{i % 5}", Timeout = i % 5 == 0 ? TimeSpan.FromSeconds(i) : null,
        })];
    }

    private static int[] Tokens(Random random, int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(HashRunner.VocabularySize))];
}
