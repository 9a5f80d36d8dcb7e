using KernelForge.Inference;

namespace KernelForge.Tests;

public class StepResultTests
{
    [Fact]
    public void Tokens_RowsWithNoneOneAndSeveral_AreKeptApart()
    {
        var result = new StepResult();
        result.Add(1, 10);
        result.Add(3, 20);
        result.Add(3, 21);

        Assert.Equal([], result.Tokens(0).ToArray());
        Assert.Equal([10], result.Tokens(1).ToArray());
        Assert.Equal([], result.Tokens(2).ToArray());
        Assert.Equal([20, 21], result.Tokens(3).ToArray());
        Assert.Equal([], result.Tokens(4).ToArray());
        Assert.Throws<ArgumentException>(() => result.Add(2, 5));

        result.Clear();
        Assert.Equal([], result.Tokens(3).ToArray());
    }
}
