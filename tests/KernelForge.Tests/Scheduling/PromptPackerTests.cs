using KernelForge.Inference;

namespace KernelForge.Tests;

public class PromptPackerTests
{
    [Fact]
    public void Pack_MixedLengths_FillsRowsFromTheLongest()
    {
        PackedPrompts packed = PromptPacker.Pack([3, 10, 0, 7, 2, 8]);

        Assert.Equal(3, packed.RowCount);
        Assert.Equal([new(2, 7, 3), new(0, 0, 10), new(0, 10, 0), new(2, 0, 7), new(1, 8, 2), new(1, 0, 8)], packed.Places.ToArray());
        Assert.Equal((30, 30, 60), (packed.Tokens, packed.PackedTokens, packed.PaddedTokens));
    }

    [Fact]
    public void Pack_Random_KeepsEveryPromptInOneRowWithoutOverlap()
    {
        var random = new Random(3);
        for (int round = 0; round < 300; round++)
        {
            int capacity = 1 + random.Next(40);
            int[] lengths = [.. Enumerable.Range(0, random.Next(30)).Select(_ => random.Next(capacity + 1))];
            PackedPrompts packed = PromptPacker.Pack(lengths, capacity);

            var taken = new bool[packed.PackedTokens];
            for (int i = 0; i < lengths.Length; i++)
            {
                PackedPrompt place = packed.Places[i];
                Assert.Equal(lengths[i], place.Length);
                Assert.InRange(place.Start, 0, capacity - place.Length);
                for (int p = 0; p < place.Length; p++)
                {
                    ref bool cell = ref taken[place.Row * capacity + place.Start + p];
                    Assert.False(cell, "Two prompts lie on one token.");
                    cell = true;
                }
            }
            Assert.Equal(Enumerable.Range(0, lengths.Length).Where(i => lengths[i] > 0), Enumerable.Range(0, packed.RowCount).SelectMany(packed.PromptsOf).Order());
        }
    }

    [Fact]
    public void Pack_SmallCases_StaysWithinElevenNinthsOfTheFewestRowsAndOne()
    {
        var random = new Random(9);
        int above = 0;
        for (int round = 0; round < 400; round++)
        {
            int capacity = 6 + random.Next(15);
            int[] lengths = [.. Enumerable.Range(0, 1 + random.Next(10)).Select(_ => random.Next(capacity / 5, capacity / 2 + 1))];
            int rows = PromptPacker.Pack(lengths, capacity).RowCount, fewest = FewestRows(lengths, capacity, [], 0, lengths.Length);

            Assert.InRange(rows, fewest, (11 * fewest + 9) / 9);
            above += rows > fewest ? 1 : 0;
        }
        Assert.InRange(above, 1, 100); // brute force does find better rows at times
    }

    [Fact]
    public void Fill_Prompts_RestartsPositionsAndPadsTheRest()
    {
        ReadOnlyMemory<int>[] prompts = [new[] { 1, 2 }, new[] { 3, 4, 5, 6 }, new[] { 7 }, new[] { 8, 9 }];
        PackedPrompts packed = PromptPacker.Pack([2, 4, 1, 2], 5);
        int[] tokens = new int[10], positions = new int[10];

        packed.Fill(prompts, padding: -1, tokens, positions);

        Assert.Equal([3, 4, 5, 6, 7, 1, 2, 8, 9, -1], tokens);
        Assert.Equal([0, 1, 2, 3, 0, 0, 1, 0, 1, 0], positions);
        Assert.Equal([0, 3], packed.PromptsOf(1));
    }

    [Fact]
    public void Pack_BadInput_SaysWhatIsWrong()
    {
        Assert.Contains("prompt 1 has 6", Assert.Throws<ArgumentException>(() => PromptPacker.Pack([5, 6], 5)).Message);
        Assert.Contains("prompt 0 has -1", Assert.Throws<ArgumentException>(() => PromptPacker.Pack([-1])).Message);
        Assert.Contains("1 token or more, not 0", Assert.Throws<ArgumentException>(() => PromptPacker.Pack([], 0)).Message);
        Assert.Contains("room for 2 tokens", Assert.Throws<ArgumentException>(() => PromptPacker.Pack([2]).Fill([new int[2]], 0, new int[1], new int[2])).Message);
        Assert.Equal(0, PromptPacker.Pack([]).RowCount);
    }

    private static int FewestRows(int[] lengths, int capacity, List<int> used, int next, int best)
    {
        if (used.Count >= best) return best;
        if (next == lengths.Length) return used.Count;
        for (int row = 0; row <= used.Count; row++)
        {
            bool opens = row == used.Count;
            if (opens) used.Add(0);
            if (used[row] + lengths[next] <= capacity)
            {
                used[row] += lengths[next];
                best = FewestRows(lengths, capacity, used, next + 1, best);
                used[row] -= lengths[next];
            }
            if (opens)
            {
                used.RemoveAt(row);
                break;
            }
        }
        return best;
    }
}
