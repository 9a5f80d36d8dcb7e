namespace KernelForge.Tests;

public class DraftShapesTests
{
    [Fact]
    public void OfLength_Unmeasured_DraftsSeveralRanksWithinTheLength()
    {
        var shapes = new DraftShapes(branches: 2, nodesPerToken: 2, maxLength: 8);

        for (int length = 1; length <= 8; length++)
        {
            TreeShape shape = shapes.OfLength(length);
            Assert.Equal(2 * length, shape.Count);
            Assert.InRange(shape.DepthOf(shape.Count), Math.Min(length, 6), length);
            Assert.Contains(1, Enumerable.Range(1, shape.Count).Select(shape.Rank));
        }
    }

    [Theory]
    [InlineData(0.8f, 0.1f)]
    [InlineData(0.4f, 0.3f)]
    public void Observe_AcceptanceByRank_IsLearned(float first, float second)
    {
        var shapes = new DraftShapes(branches: 2, nodesPerToken: 2, maxLength: 4);
        var random = new Random(2);
        (double First, double Second) mean = default;
        for (int step = 0; step < 6000; step++)
        {
            TreeShape shape = shapes.OfLength(4);
            DraftNode[] nodes = [.. Enumerable.Range(1, shape.Count).Select(node => new DraftNode(shape.Parent(node), 0, -1))];
            List<int> path = [0];
            while (Enumerable.Range(1, shape.Count).FirstOrDefault(node => shape.Parent(node) == path[^1] && IsDrawn(shape.Rank(node))) is > 0 and var next) path.Add(next);
            shapes.Observe(nodes, path.ToArray());
            if (step >= 1000) mean = (mean.First + shapes.Acceptance[0] / 5000, mean.Second + shapes.Acceptance[1] / 5000);

            // At most one child is the chosen token.
            bool IsDrawn(int rank) => random.NextSingle() < (rank == 0 ? first : second / (1 - first));
        }

        Assert.Equal(first, mean.First, 0.03);
        Assert.Equal(second, mean.Second, 0.03);
    }

    [Fact]
    public void Observe_SecondRankNeverAccepted_TreesBecomeChains()
    {
        var shapes = new DraftShapes(branches: 2, nodesPerToken: 2, maxLength: 3);
        DraftNode[] nodes = [new(0, 5, -1), new(0, 6, -1)];

        for (int i = 0; i < 1000; i++) shapes.Observe(nodes, [0, 1]);

        Assert.Equal([0, 1, 2], Enumerable.Range(1, 3).Select(shapes.OfLength(3).Parent));
    }
}
