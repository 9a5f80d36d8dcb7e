namespace KernelForge.Tests;

public class TreeShapeTests
{
    [Fact]
    public void Best_TwoRanks_TakesNodesByTheChanceOfTheirPaths()
    {
        // Chances: 0.5 | 0.3 beside it | 0.25 below the first | 0.15 its sibling, 0.15 below the second (the earlier parent first) | 0.125
        TreeShape shape = TreeShape.Best([0.5f, 0.3f], maxDepth: 3, maxNodes: 6);

        Assert.Equal([-1, 0, 0, 1, 1, 2, 3], Enumerable.Range(0, 7).Select(shape.Parent));
        Assert.Equal([0, 0, 1, 0, 1, 0, 0], Enumerable.Range(0, 7).Select(shape.Rank));
        Assert.Equal([0, 1, 1, 2, 2, 2, 3], Enumerable.Range(0, 7).Select(shape.Depth));
        Assert.Equal((0, 1, 2, 3), (shape.DepthOf(0), shape.DepthOf(2), shape.DepthOf(5), shape.DepthOf(6)));
    }

    [Fact]
    public void Best_OneRank_IsAChain()
    {
        TreeShape shape = TreeShape.Best([0.2f], maxDepth: 5, maxNodes: 64);

        Assert.Equal(5, shape.Count);
        for (int node = 1; node <= 5; node++) Assert.Equal((node - 1, 0, node), (shape.Parent(node), shape.Rank(node), shape.Depth(node)));
    }

    [Fact]
    public void Best_RankWithoutChance_IsLeftOut() => Assert.Equal(3, TreeShape.Best([0.9f, 0], maxDepth: 3, maxNodes: 20).Count);

    [Fact]
    public void Best_AcceptanceRisingWithRank_CountsAsFlat()
    {
        TreeShape shape = TreeShape.Best([0.25f, 0.5f], maxDepth: 2, maxNodes: 6);

        Assert.Equal([0.25, 0.25, 0.0625, 0.0625, 0.0625, 0.0625], Enumerable.Range(1, 6).Select(shape.Chance));
    }

    [Fact]
    public void Best_AnyNumberOfNodes_NoTreeExpectsMoreTokens()
    {
        var random = new Random(4);
        for (int trial = 0; trial < 60; trial++)
        {
            float[] acceptance = [.. Enumerable.Range(0, random.Next(1, 4)).Select(_ => random.NextSingle()).OrderDescending()];
            int maxDepth = random.Next(1, 5);
            TreeShape shape = TreeShape.Best(acceptance, maxDepth, maxNodes: 6);
            double expected = 0;
            for (int count = 1; count <= shape.Count; count++)
            {
                expected += shape.Chance(count);
                Assert.InRange(shape.Parent(count), 0, count - 1);
                Assert.Equal(BestBySearch(acceptance, maxDepth, count), expected, 1e-9);
            }
        }
    }

    /// <summary>The most tokens that any tree of so many nodes expects, by trying all of them: a tree is the set of its paths of ranks.</summary>
    private static double BestBySearch(float[] acceptance, int maxDepth, int count)
    {
        HashSet<string> trees = [""];
        for (int i = 0; i < count; i++)
            trees = [.. trees.SelectMany(tree => Grown(tree.Split(' ', StringSplitOptions.RemoveEmptyEntries), acceptance.Length, maxDepth))];
        return trees.Max(tree => tree.Split(' ').Sum(path => path.Aggregate(1.0, (chance, rank) => chance * acceptance[rank - '0'])));
    }

    private static IEnumerable<string> Grown(string[] tree, int ranks, int maxDepth)
    {
        foreach (string parent in (string[])["", .. tree])
            for (int rank = 0; rank < ranks && parent.Length < maxDepth; rank++)
                if (!tree.Contains($"{parent}{rank}")) yield return string.Join(' ', tree.Append($"{parent}{rank}").Order(StringComparer.Ordinal));
    }
}
