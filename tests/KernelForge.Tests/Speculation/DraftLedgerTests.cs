using KernelForge.Inference;

namespace KernelForge.Tests;

public class DraftLedgerTests
{
    private const double Plain = 1e-3; // seconds of a step without drafts

    [Fact]
    public void WantsPlain_NothingMeasured_UntilPlainStepsWere()
    {
        var ledger = new DraftLedger();
        for (int i = 0; i < 4; i++)
        {
            Assert.True(ledger.WantsPlain);
            Step(ledger, drafted: 0);
        }
        Assert.False(ledger.WantsPlain);
    }

    [Theory]
    [InlineData(1.5, 0, true)]
    [InlineData(1.1, 0, true)]
    [InlineData(1.5, 1, false)] // a step half as long again for twice the tokens
    [InlineData(1.95, 1, false)]
    [InlineData(2.1, 1, true)]
    [InlineData(3, 4, false)]
    public void WantsPlain_StepsWithDrafts_StopsThemWhereTheyLose(double length, int accepted, bool stops)
    {
        DraftLedger ledger = Measured();
        int stopped = 0;
        for (int i = 0; i < 500; i++)
        {
            bool plain = ledger.WantsPlain;
            stopped += plain ? 1 : 0;
            if (plain) Step(ledger, drafted: 0);
            else Step(ledger, drafted: 4, accepted: accepted, seconds: length * Plain);
        }
        Assert.Equal(stops, stopped > 100);
    }

    [Theory]
    [InlineData(1.2, 0.1)]
    [InlineData(3, 0)]
    [InlineData(1.01, 60)] // a long prompt for the draft model, every time
    public void Loss_Always_IsAboutHalfAPercentOfTheTime(double length, double draft)
    {
        DraftLedger ledger = Measured();
        double time = 0, loss = 0;
        for (int i = 0; i < 20_000; i++)
        {
            if (ledger.WantsPlain)
            {
                Step(ledger, drafted: 0);
                time += Plain;
                continue;
            }
            Step(ledger, drafted: 4, seconds: length * Plain, draftSeconds: draft * Plain);
            time += (length + draft) * Plain;
            loss += (length - 1 + draft) * Plain;
        }
        Assert.InRange(loss, 0.002 * time, 0.012 * time);
    }

    [Fact]
    public void WantsPlain_DraftsPay_OneStepInThirtyThreeWithout()
    {
        DraftLedger ledger = Measured();
        int plain = 0;
        for (int i = 0; i < 3_300; i++)
        {
            if (ledger.WantsPlain) plain++;
            Step(ledger, drafted: ledger.WantsPlain ? 0 : 4, accepted: ledger.WantsPlain ? 0 : 3);
        }
        Assert.Equal(100, plain);
    }

    [Fact]
    public void WantsPlain_PauseOfTheMachine_IsNotCharged()
    {
        DraftLedger ledger = Measured();
        for (int i = 0; i < 20; i++) Step(ledger, drafted: 4, accepted: 3);
        var pause = new StepTime(1000 * Plain, 0, Decodes: 1, Drafted: 4, Accepted: 3, HasPrompts: false);
        ledger.Observe(pause, expectedTarget: Plain, expectedDraft: 0, addedSeconds: 0);
        Assert.False(ledger.WantsPlain);
    }

    [Fact]
    public void WantsPlain_StepsWithPrompts_CountWhatDraftsAdded()
    {
        DraftLedger ledger = Measured();
        var step = new StepTime(50 * Plain, 0, Decodes: 1, Drafted: 4, Accepted: 1, HasPrompts: true);
        for (int i = 0; i < 100; i++) ledger.Observe(step, 0, 0, addedSeconds: 0.5 * Plain);
        Assert.False(ledger.WantsPlain);
        for (int i = 0; i < 100; i++) ledger.Observe(step, 0, 0, addedSeconds: 2 * Plain);
        Assert.True(ledger.WantsPlain);
    }

    /// <summary>A ledger that knows plain steps and saw as many with drafts as it takes to warm up.</summary>
    private static DraftLedger Measured()
    {
        var ledger = new DraftLedger();
        for (int i = 0; i < 8; i++) Step(ledger, drafted: 0);
        for (int i = 0; i < 4; i++) Step(ledger, drafted: 4, seconds: 100 * Plain);
        Step(ledger, drafted: 0);
        Assert.False(ledger.WantsPlain);
        return ledger;
    }

    private static void Step(DraftLedger ledger, int drafted, int accepted = 0, double seconds = Plain, double draftSeconds = 0) =>
        ledger.Observe(new StepTime(seconds, draftSeconds, Decodes: 1, drafted, accepted, HasPrompts: false), 0, 0, 0);
}
