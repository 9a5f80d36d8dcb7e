namespace KernelForge.Tests;

/// <summary>Speculative decoding of padded batches through RealignPadded gives the tokens of plain decoding; done wrongly in any of the known ways it does not.</summary>
public sealed class PaddedSpeculationTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private const int Count = 20;

    /// <summary>Of unequal lengths, one token long at least; the value of the padding is a token like others.</summary>
    private static readonly int[][] Prompts =
    [
        [5, PaddedMemory.PadToken, PaddedMemory.PadToken, 7, 1],
        [PaddedMemory.PadToken],
        [PaddedMemory.PadToken, 3, 9, 0, 10, 4, 4, PaddedMemory.PadToken, PaddedMemory.PadToken],
        [8, 6, PaddedMemory.PadToken],
    ];

    public static TheoryData<string, PaddingSide, bool> All => Cases.Of<string, PaddingSide, bool>(Devices.Names, [PaddingSide.Left, PaddingSide.Right], [true, false]);

    public static TheoryData<RoundMistake, PaddingSide, bool> Mistakes =>
        Cases.Of<RoundMistake, PaddingSide, bool>(Enum.GetValues<RoundMistake>().Except([RoundMistake.None]), [PaddingSide.Left, PaddingSide.Right], [true, false]);

    [DeviceTheory, MemberData(nameof(All))]
    public void Generate_InRounds_GivesTheTokensOfPlainDecoding(string deviceName, PaddingSide side, bool inPlace)
    {
        var batch = new PaddedSpeculation(devices.Open(deviceName), side, inPlace);
        Assert.Equal(Prompts.Select(prompt => PaddedSpeculation.Plain(prompt, Count)), batch.Generate(Prompts, Count));
        Assert.True(batch.RaggedRounds > 3, $"only {batch.RaggedRounds} rounds were ragged");
        Assert.Equal([PaddedSpeculation.Plain(Prompts[0], Count)], new PaddedSpeculation(devices.Open(deviceName), side, inPlace).Generate(Prompts[..1], Count));
    }

    [Theory, MemberData(nameof(Mistakes))]
    public void Generate_WithAKnownMistake_GivesOtherTokens(RoundMistake mistake, PaddingSide side, bool inPlace)
    {
        List<int>[] outputs = new PaddedSpeculation(Device.Cpu, side, inPlace, mistake).Generate(Prompts, Count);
        Assert.NotEqual(Prompts.Select(prompt => PaddedSpeculation.Plain(prompt, Count)), outputs);
    }
}
