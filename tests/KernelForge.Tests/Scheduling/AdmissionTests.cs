using KernelForge.Inference;

namespace KernelForge.Tests;

public class AdmissionTests
{
    private static readonly KvDemand[] Running = [new(Held: 3, Known: 0, Remaining: 2), new(Held: 1, Known: 1, Remaining: 4)]; // 5 now, 10 at most

    [Theory, InlineData(13, true), InlineData(12, false)]
    public void ReserveAll_WorstCase_DecidesAtTheExactBlock(int capacity, bool expected) =>
        Assert.Equal(expected, new ReserveAllAdmission().Admits(Running, new KvDemand(Held: 1, Known: 1, Remaining: 2), capacity));

    [Theory, InlineData(7, true), InlineData(6, false)]
    public void Aggressive_KnownTokens_DecideAtTheExactBlock(int capacity, bool expected) =>
        Assert.Equal(expected, new AggressiveAdmission().Admits(Running, new KvDemand(Held: 1, Known: 1, Remaining: 90), capacity));

    [Fact]
    public void Demands_HugeNumbers_DoNotOverflow()
    {
        var huge = new KvDemand(int.MaxValue, int.MaxValue, int.MaxValue);

        Assert.False(new ReserveAllAdmission().Admits([huge], huge, int.MaxValue));
        Assert.False(new AggressiveAdmission().Admits([huge], huge, int.MaxValue));
    }
}
