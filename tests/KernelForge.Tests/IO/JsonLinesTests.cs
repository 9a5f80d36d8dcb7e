using System.Text;

namespace KernelForge.Tests;

public class JsonLinesTests
{
    [Fact]
    public void Read_Lines_GivesNumbersOffsetsAndEnds()
    {
        JsonLine[] lines = [.. JsonLines.Read(new MemoryStream("{}\n\n  \n[1]\r\n7"u8.ToArray()))];

        Assert.Equal([(1, 0L, 3L), (4, 7L, 12L), (5, 12L, 13L)], lines.Select(line => (line.Number, line.Offset, line.End)));
        Assert.Equal(["{}", "[1]\r", "7"], lines.Select(line => Encoding.UTF8.GetString(line.Bytes.Span)));
        Assert.Equal([true, true, false], lines.Select(line => line.IsComplete));
    }

    // Line lengths around the buffer of 64 KiB and twice that, read in pieces of many sizes: 1, a prime, all.
    [Theory]
    [InlineData(1)]
    [InlineData(4093)]
    [InlineData(int.MaxValue)]
    public void Read_LinesLongerThanTheBuffer_AreWhole(int pieceLength)
    {
        string[] expected = [.. new[] { 1, 65_534, 65_535, 65_536, 131_073, 3 }.Select(length => new string('x', length))];
        using var stream = new PieceStream(Encoding.UTF8.GetBytes(string.Join('\n', expected) + "\n"), pieceLength);

        Assert.Equal(expected, JsonLines.Read(stream).Select(line => Encoding.UTF8.GetString(line.Bytes.Span)));
    }

    [Fact]
    public void Read_ByteOrderMark_IsSkippedAtTheStartOnly()
    {
        JsonLine[] lines = [.. JsonLines.Read(new MemoryStream("\uFEFF1\n\uFEFF2\n"u8.ToArray()))];

        Assert.Equal(["1", "\uFEFF2"], lines.Select(line => Encoding.UTF8.GetString(line.Bytes.Span)));
        Assert.Equal((3L, 5L), (lines[0].Offset, lines[0].End));
    }

    [Fact]
    public void Read_NothingAtAll_GivesNoLine() => Assert.Empty(JsonLines.Read(new MemoryStream()));

    /// <summary>Gives a few bytes at a time, as a pipe does.</summary>
    private sealed class PieceStream(byte[] bytes, int pieceLength) : MemoryStream(bytes)
    {
        public override int Read(byte[] buffer, int offset, int count) => base.Read(buffer, offset, Math.Min(count, pieceLength));
    }
}
