using KernelForge.Inference;

namespace KernelForge.Tests;

public class FuturePeakTests
{
    [Fact]
    public void Peak_ShortSequenceBesideLongOne_IsWhereTheShortOneEnds()
    {
        // Blocks of one slot. Step 0: 10 + 4. Step 2, the short one's last: 12 + 6. Step 5: 15.
        FuturePeak peak = Prepared(1, 1, [new(10, 15, 0, 5), new(4, 6, 0, 2)]);

        Assert.Equal(18, peak.Peak);
        Assert.Equal(18 + 3 + 2, peak.PeakWith(new FutureUse(3, 5, 0, 2)));
    }

    [Fact]
    public void Peak_SharedPrefix_LeavesWithItsLastMember()
    {
        // A prefix of 100 slots is counted for the one that ends last; the other has 2 slots and comes to 4.
        FuturePeak peak = Prepared(1, 1, [new(105, 110, 0, 5), new(2, 4, 0, 2)]);
        Assert.Equal(107 + 4, peak.Peak);

        // One that ends later still keeps the prefix: in step 9 it is there with its 100 blocks and 9 of its own, in step 5 with 5 beside the long one.
        Assert.Equal(Math.Max(110 + 5, 100 + 9), peak.PeakWith(new FutureUse(1, 9, 1, 9, Kept: 100, KeptAfter: 5)));
    }

    [Fact]
    public void Peak_EdgeCases_AreTheSumAtTheRightStep()
    {
        Assert.Equal(0, Prepared(16, 1, []).Peak);
        Assert.Equal(3, Prepared(16, 1, [new(17, 40, 0, 23)]).Peak); // a single one ends with all it gets
        Assert.Equal(4, Prepared(16, 1, [new(17, 17, 0, 0), new(32, 32, 0, 0)]).Peak); // nothing left to come
        Assert.Equal(8, Prepared(4, 1, [.. Enumerable.Repeat(new FutureUse(3, 7, 0, 4), 4)]).Peak); // all end at once
        Assert.Equal(5, Prepared(4, 1, []).PeakWith(new FutureUse(3, 20, 0, 17))); // nobody else
        Assert.Equal(9, Prepared(4, 1, [new(16, 16, 0, 3)]).PeakWith(new FutureUse(16, 20, 0, 4))); // 4 + 5 in step 3, 5 in step 4
        Assert.Equal(1_000_002, Prepared(1, 1, [new(1_000_000, 1_000_000, 0, FutureUse.Never)]).PeakWith(new FutureUse(1, 2, 0, FutureUse.Never)));
    }

    [Theory, InlineData(1, 1), InlineData(4, 1), InlineData(16, 1), InlineData(4, 3), InlineData(5, 4), InlineData(16, 9)]
    public void Peak_Random_EqualsSteppingForwardBlockByBlock(int blockSize, int slotsPerStep)
    {
        var random = new Random(blockSize * 31 + slotsPerStep);
        var peak = new FuturePeak(blockSize, slotsPerStep);
        for (int trial = 0; trial < 400; trial++)
        {
            List<FutureUse> uses = [.. Enumerable.Range(0, random.Next(12)).Select(_ => RandomUse(random, slotsPerStep, trial))];
            peak.Prepare([.. uses]);
            Assert.Equal(SteppedForward(uses, blockSize, slotsPerStep), peak.Peak);
        }
    }

    [Theory, InlineData(1, 1), InlineData(4, 1), InlineData(16, 1), InlineData(4, 3), InlineData(16, 9)]
    public void PeakWith_Random_IsNeverTooFewAndAtMostABlockForEachTooMany(int blockSize, int slotsPerStep)
    {
        var random = new Random(blockSize * 37 + slotsPerStep);
        var peak = new FuturePeak(blockSize, slotsPerStep);
        int exact = 0, asked = 0;
        for (int trial = 0; trial < 400; trial++)
        {
            List<FutureUse> uses = [.. Enumerable.Range(0, random.Next(12)).Select(_ => RandomUse(random, slotsPerStep, trial))];
            peak.Prepare([.. uses]);
            for (int i = random.Next(4); i >= 0; i--)
            {
                FutureUse candidate = RandomUse(random, slotsPerStep, trial) with { Kept = random.Next(3) * 7, KeptAfter = random.Next(30) };
                long before = peak.Peak, with = peak.PeakWith(candidate), expected = SteppedForward([.. uses, candidate], blockSize, slotsPerStep);
                Assert.InRange(with, expected, expected + uses.Count + uses.Sum(use => use.Kept));
                Assert.True(with >= before, "One more made it less.");
                (exact, asked) = (exact + (with == expected ? 1 : 0), asked + 1);
                uses.Add(candidate);
                peak.Add(candidate);
                Assert.Equal(with, peak.Peak);
            }
        }
        Assert.InRange(exact, 0.7 * asked, asked);
    }

    [Fact]
    public void Peak_GroupsWithSharedPrefixes_EqualsCountingDistinctBlocks()
    {
        var random = new Random(3);
        for (int trial = 0; trial < 300; trial++)
        {
            // Each member of a group has the group's prefix blocks and slots of its own; the longest of a group has the prefix counted for it.
            (int Prefix, (int Own, int Left)[] Members)[] groups =
                [.. Enumerable.Range(0, random.Next(1, 4)).Select(_ => (random.Next(20), (ValueTuple<int, int>[])[.. Enumerable.Range(0, random.Next(1, 5)).Select(_ => (random.Next(1, 9), random.Next(12)))]))];
            var uses = new List<FutureUse>();
            foreach ((int prefix, (int Own, int Left)[] members) in groups)
            {
                int longest = Array.IndexOf(members, members.MaxBy(member => member.Left));
                uses.AddRange(members.Select((m, i) => (i == longest ? 4 * prefix : 0, m)).Select(x => new FutureUse(x.Item1 + x.m.Own, x.Item1 + x.m.Own + x.m.Left, 0, x.m.Left)));
            }

            long expected = Enumerable.Range(0, 12).Max(step => groups.Sum(group =>
                group.Members.Any(m => m.Left >= step) ? group.Prefix + group.Members.Where(m => m.Left >= step).Sum(m => (long)(m.Own + step + 3) / 4) : 0));
            Assert.Equal(expected, Prepared(4, 1, [.. uses]).Peak);
        }
    }

    [Fact]
    public void Prepare_AddAndAsk_SteadyState_AllocateNothing()
    {
        var random = new Random(1);
        FutureUse[] uses = [.. Enumerable.Range(0, 300).Select(_ => RandomUse(random, 1, 0))];
        var peak = new FuturePeak(16, 1);
        long before = 0;
        for (int round = 0; round < 20; round++)
        {
            if (round == 5) before = GC.GetAllocatedBytesForCurrentThread();
            peak.Prepare(uses);
            for (int i = 0; i < 20; i++)
            {
                peak.PeakWith(uses[i]);
                peak.Add(uses[i] with { Last = 1000 + i });
            }
        }
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    private static FuturePeak Prepared(int blockSize, int slotsPerStep, FutureUse[] uses)
    {
        var peak = new FuturePeak(blockSize, slotsPerStep);
        peak.Prepare(uses);
        return peak;
    }

    /// <summary>Every third trial without prompts under way; with drafts a sequence may stay longer than it grows.</summary>
    private static FutureUse RandomUse(Random random, int slotsPerStep, int trial)
    {
        int slots = random.Next(1, 40), growth = random.Next(4) == 0 ? 0 : random.Next(60), first = trial % 3 == 0 ? 0 : random.Next(4) * random.Next(5);
        int grown = (growth + slotsPerStep - 1) / slotsPerStep;
        return new FutureUse(slots, slots + growth, first, Math.Max(0, first + (random.Next(3) == 0 ? grown : growth) + random.Next(-2, 3) * (trial % 2)));
    }

    private static long SteppedForward(List<FutureUse> uses, int blockSize, int slotsPerStep)
    {
        long peak = 0;
        for (int step = 0; step < 200; step++)
        {
            long blocks = 0;
            foreach (FutureUse use in uses)
            {
                if (step > use.Last) continue;
                int slots = use.Slots;
                for (int i = use.First; i < step; i++) slots = Math.Min(use.FinalSlots, slots + slotsPerStep);
                blocks += (slots + blockSize - 1) / blockSize + (step > use.KeptAfter ? use.Kept : 0);
            }
            peak = Math.Max(peak, blocks);
        }
        return peak;
    }
}
