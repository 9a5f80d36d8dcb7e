namespace KernelForge.Tests;

/// <summary>Chooses few combinations of factor levels so that every two levels of different factors meet in one of them.</summary>
internal static class Pairwise
{
    /// <summary>Greedy covering array: every row is the best of some random ones through a pair that is still missing.</summary>
    public static List<int[]> Cover(int[] levels, int seed)
    {
        var random = new Random(seed);
        var missing = new HashSet<(int A, int LevelA, int B, int LevelB)>();
        for (int a = 0; a < levels.Length; a++)
            for (int b = a + 1; b < levels.Length; b++)
                for (int i = 0; i < levels[a]; i++)
                    for (int j = 0; j < levels[b]; j++)
                        missing.Add((a, i, b, j));

        List<int[]> rows = [];
        while (missing.Count > 0)
        {
            (int a, int levelA, int b, int levelB) = missing.First();
            int[] best = Enumerable.Range(0, 60).Select(_ =>
            {
                int[] row = levels.Select(count => random.Next(count)).ToArray();
                (row[a], row[b]) = (levelA, levelB);
                return row;
            }).MaxBy(row => PairsOf(row).Count(missing.Contains))!;
            missing.ExceptWith(PairsOf(best));
            rows.Add(best);
        }
        return rows;
    }

    private static IEnumerable<(int A, int LevelA, int B, int LevelB)> PairsOf(int[] row) =>
        from a in Enumerable.Range(0, row.Length)
        from b in Enumerable.Range(a + 1, row.Length - a - 1)
        select (a, row[a], b, row[b]);
}
