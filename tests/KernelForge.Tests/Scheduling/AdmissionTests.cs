using KernelForge.Inference;

namespace KernelForge.Tests;

public class AdmissionTests
{
    private static readonly SchedulerOptions Options = new() { BlockCount = 64, ContextLength = 128 };
    private static readonly KvDemand[] Running = [new(Held: 3, Known: 0, Remaining: 2), new(Held: 1, Known: 1, Remaining: 4)]; // 5 now, 10 at most

    [Theory, InlineData(13, true), InlineData(12, false)]
    public void ReserveAll_WorstCase_DecidesAtTheExactBlock(int capacity, bool expected) =>
        Assert.Equal(expected, Admits(new ReserveAllAdmission(), Running, new KvDemand(Held: 1, Known: 1, Remaining: 2), capacity));

    [Theory, InlineData(7, 1, true), InlineData(6, 1, false), InlineData(14, 0.5, true), InlineData(13, 0.5, false)]
    public void Aggressive_KnownTokens_DecideAtTheExactBlock(int capacity, double watermark, bool expected) =>
        Assert.Equal(expected, Admits(new AggressiveAdmission(watermark), Running, new KvDemand(Held: 1, Known: 1, Remaining: 90), capacity));

    [Fact]
    public void Demands_HugeNumbers_DoNotOverflow()
    {
        var huge = new KvDemand(int.MaxValue, int.MaxValue, int.MaxValue);

        Assert.False(Admits(new ReserveAllAdmission(), [huge], huge, int.MaxValue));
        Assert.False(Admits(new AggressiveAdmission(), [huge], huge, int.MaxValue));
    }

    [Fact]
    public void Admitted_InOnePass_CountForTheNext()
    {
        foreach (IAdmissionPolicy policy in (IAdmissionPolicy[])[new ReserveAllAdmission(), new AggressiveAdmission()])
        {
            IAdmission admission = policy.For(Options);
            admission.Begin([], capacity: 5);
            Assert.True(admission.TryAdmit(new KvDemand(0, 3, 3)));
            Assert.False(admission.TryAdmit(new KvDemand(0, 3, 3)));
            Assert.True(admission.TryAdmit(new KvDemand(0, 2, 2)));
        }
    }

    private static bool Admits(IAdmissionPolicy policy, KvDemand[] running, in KvDemand candidate, int capacity)
    {
        IAdmission admission = policy.For(Options);
        admission.Begin(running, capacity);
        return admission.TryAdmit(candidate);
    }
}
