using KernelForge.Inference;

namespace KernelForge.Tests;

public class ShapeBucketsTests
{
    [Fact]
    public void Best_SmallHistograms_EqualsBruteForce()
    {
        var random = new Random(1);
        for (int round = 0; round < 300; round++)
        {
            (int Size, long Weight)[] histogram = Histogram(random, most: 9);
            int count = 1 + random.Next(5);
            ShapeBuckets best = ShapeBuckets.Best(histogram, count);

            Assert.InRange(best.Sizes.Length, 1, count);
            Assert.Equal(Ladders(histogram, count).Min(ladder => ladder.PaddingOf(histogram)), best.PaddingOf(histogram));
            Assert.All(histogram, shape => Assert.NotNull(best.Nearest(shape.Size)));
        }
    }

    [Fact]
    public void Best_MoreSizes_NeverPadMore()
    {
        (int Size, long Weight)[] histogram = Histogram(new Random(4), most: 60);
        long before = long.MaxValue;
        for (int count = 1; count <= 70; count++)
        {
            long padding = ShapeBuckets.Best(histogram, count).PaddingOf(histogram);
            Assert.InRange(padding, 0, before);
            before = padding;
        }
        Assert.Equal(0, before);
    }

    [Theory, InlineData(1, 8), InlineData(8, 8), InlineData(9, 32), InlineData(32, 32), InlineData(33, null)]
    public void Nearest_Shape_IsTheNextSizeOrNone(int shape, int? expected) => Assert.Equal(expected, new ShapeBuckets([8, 32]).Nearest(shape));

    [Fact]
    public void Grid_SmallHistograms_IsBestOnEachAxisAndNearBruteForce()
    {
        var random = new Random(7);
        double found = 0, least = 0;
        for (int round = 0; round < 60; round++)
        {
            (GridShape Shape, long Weight)[] histogram = [.. Enumerable.Range(0, 8).Select(_ => (new GridShape(1 + random.Next(8), 1 + random.Next(40)), 1L + random.Next(9)))];
            ShapeGrid grid = ShapeGrid.Of(histogram, 2, 3);
            (int, long)[] rows = [.. histogram.Select(seen => (seen.Shape.Rows, 1L))], tokens = [.. histogram.Select(seen => (seen.Shape.Tokens, 1L))];

            Assert.Equal(grid.PaddingOf(histogram), Ladders(rows, 2).Min(ladder => new ShapeGrid(ladder, grid.Tokens).PaddingOf(histogram)));
            Assert.Equal(grid.PaddingOf(histogram), Ladders(tokens, 3).Min(ladder => new ShapeGrid(grid.Rows, ladder).PaddingOf(histogram)));
            found += grid.PaddingOf(histogram);
            least += Ladders(rows, 2).Min(r => Ladders(tokens, 3).Min(t => new ShapeGrid(r, t).PaddingOf(histogram)));
        }
        Assert.InRange(found / least, 1, 1.1);
    }

    [Fact]
    public void Grid_Nearest_HoldsTheShapeOrIsNone()
    {
        var grid = new ShapeGrid(new ShapeBuckets([1, 4]), new ShapeBuckets([8, 64]));

        Assert.Equal(new GridShape(4, 64), grid.Nearest(new GridShape(2, 9)));
        Assert.Null(grid.Nearest(new GridShape(5, 9)));
        Assert.Null(grid.Nearest(new GridShape(1, 65)));
        Assert.Equal(4, grid.Count);
    }

    [Fact]
    public void Sizes_BadInput_SayWhatIsWrong()
    {
        Assert.Contains("3 follows 3", Assert.Throws<ArgumentException>(() => new ShapeBuckets([3, 3])).Message);
        Assert.Contains("not 0", Assert.Throws<ArgumentException>(() => ShapeBuckets.Best([(1, 1)], 0)).Message);
        Assert.Contains("(0, 1)", Assert.Throws<ArgumentException>(() => ShapeBuckets.Best([(0, 1)], 1)).Message);
        Assert.Null(ShapeBuckets.Best([], 3).Nearest(1));
    }

    private static (int Size, long Weight)[] Histogram(Random random, int most) =>
        [.. Enumerable.Range(0, 1 + random.Next(most)).Select(_ => (1 + random.Next(64), (long)random.Next(20)))];

    /// <summary>Every ladder of sizes that occur, with at most so many sizes, that holds the largest shape.</summary>
    private static IEnumerable<ShapeBuckets> Ladders((int Size, long Weight)[] histogram, int count)
    {
        int[] sizes = [.. histogram.Select(shape => shape.Size).Distinct().Order()];
        for (int subset = 1 << (sizes.Length - 1); subset < 1 << sizes.Length; subset++)
        {
            int chosen = subset;
            if (System.Numerics.BitOperations.PopCount((uint)chosen) <= count) yield return new ShapeBuckets([.. sizes.Where((_, i) => (chosen >> i & 1) == 1)]);
        }
    }
}
