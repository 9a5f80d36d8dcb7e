using KernelForge.Inference;

namespace KernelForge.Tests;

public class PrefixNeedsTests
{
    private const int BlockSize = 2;

    [Theory, InlineData(1), InlineData(2), InlineData(7), InlineData(40)] // one sequence: a tree of minima without inner entries
    public void NextOf_RandomChanges_IsTheSmallestKeyOfThoseThatHaveTheBlock(int count)
    {
        var random = new Random(count);
        Request[] requests = [.. Enumerable.Range(0, count).Select(_ => new Request([.. Enumerable.Range(0, random.Next(1, 12)).Select(_ => random.Next(2))]))];
        PrefixNeeds needs = GlobalPrefixPlan.Of(requests, BlockSize).MakeNeeds();
        int[] sequences = [.. requests.Select(needs.Claim)];
        long[] keys = [.. Enumerable.Repeat(PrefixNeeds.Latest, count)];
        for (int step = 0; step < 300; step++)
        {
            int changed = random.Next(count), key = random.Next(1000);
            switch (random.Next(3))
            {
                case 0: needs.Wait(sequences[changed], key); keys[changed] = 1 + key; break;
                case 1: needs.WaitFirst(sequences[changed]); keys[changed] = 0; break;
                case 2: needs.Forget(sequences[changed]); keys[changed] = PrefixNeeds.Never; break;
            }

            int asked = random.Next(count), sharable = (requests[asked].PromptTokenIds.Length - 1) / BlockSize;
            for (int block = 0; block < sharable; block++)
            {
                long expected = Enumerable.Range(0, count).Where(i => HaveInCommon(requests[i], requests[asked], block)).Min(i => keys[i]);
                Assert.Equal(expected, needs.NextOf(needs.LabelOf(sequences[asked], block)));
            }
        }
    }

    [Fact]
    public void LabelOf_GeneratedTokens_AreNeededByNobodyUnlessALongerPromptMayGoOn()
    {
        var random = new Random(8);
        int longer = 0;
        for (int trial = 0; trial < 200; trial++)
        {
            Request[] requests = [.. Enumerable.Range(0, 6).Select(_ => new Request([.. Enumerable.Range(0, random.Next(1, 9)).Select(_ => random.Next(2))]))];
            PrefixNeeds needs = GlobalPrefixPlan.Of(requests, BlockSize).MakeNeeds();
            for (int i = 0; i < requests.Length; i++)
            {
                ReadOnlySpan<int> prompt = requests[i].PromptTokenIds;
                bool goesOn = false;
                foreach (Request other in requests) goesOn |= other.PromptTokenIds.Length > prompt.Length && other.PromptTokenIds.StartsWith(prompt);
                Assert.Equal(goesOn ? PrefixNeeds.Unplanned : ~i, needs.LabelOf(i, block: 10));
                longer += goesOn ? 1 : 0;
            }
        }
        Assert.InRange(longer, 100, 1100);
    }

    [Fact]
    public void Claim_RequestTwiceInTheJob_GivesEachSequenceOnce()
    {
        Request twice = new([1, 2, 3]), samples = new([4, 5], new SamplingOptions { N = 2 });
        PrefixNeeds needs = GlobalPrefixPlan.Of([twice, samples, twice], BlockSize).MakeNeeds();

        Assert.Equal([1, 0, 2, 3, -1, -1, -1], ((Request[])[samples, twice, samples, twice, twice, samples, new Request([1])]).Select(needs.Claim));
    }

    private static bool HaveInCommon(Request a, Request b, int block)
    {
        int tokens = (block + 1) * BlockSize;
        return a.PromptTokenIds.Length > tokens && b.PromptTokenIds.Length > tokens && a.PromptTokenIds[..tokens].SequenceEqual(b.PromptTokenIds[..tokens]);
    }
}
