using System.Text;
using KernelForge.Cli;

namespace KernelForge.Tests;

public class AnswerWriterTests
{
    private static readonly string[] Ids = ["a", "b", "line-3", "d"];

    private static byte[] LineOf(string id) => Encoding.UTF8.GetBytes(
        id == "b" ? $$"""{"id":"{{id}}","error":"é"}""" : $$"""{"id":"{{id}}","text":"é }{\"id\":\"b\"}"}""");

    private static byte[] Write(Stream output, int first, params int[] order)
    {
        var writer = new AnswerWriter(output, "out", first);
        foreach (int index in order) writer.Add(index, LineOf(Ids[index]));
        return output is MemoryStream memory ? memory.ToArray() : [];
    }

    [Fact]
    public void Add_AnyOrder_WritesInOrder()
    {
        byte[] expected = [.. Ids.SelectMany(id => LineOf(id).Append((byte)'\n'))];

        Assert.Equal(expected, Write(new MemoryStream(), 0, 0, 1, 2, 3));
        Assert.Equal(expected, Write(new MemoryStream(), 0, 3, 1, 0, 2));
    }

    [Fact]
    public void Add_EarlierOneMissing_Waits()
    {
        using var output = new MemoryStream();
        var writer = new AnswerWriter(output, "out");

        writer.Add(1, LineOf("b"));
        Assert.Equal(0, output.Length);
        writer.Add(0, LineOf("a"));

        Assert.Equal(2, writer.Next);
        Assert.Equal(2, output.ToArray().Count(value => value == '\n'));
    }

    [Fact]
    public void Add_SameOneTwice_Throws()
    {
        var writer = new AnswerWriter(new MemoryStream(), "out");
        writer.Add(0, LineOf("a"));
        writer.Add(2, LineOf("d"));

        Assert.Throws<ArgumentException>(() => writer.Add(0, LineOf("a")));
        Assert.Throws<ArgumentException>(() => writer.Add(2, LineOf("d")));
    }

    [Fact]
    public void Resume_CutAtEveryByte_GivesTheWholeOutput()
    {
        byte[] whole = Write(new MemoryStream(), 0, 0, 1, 2, 3);
        for (int cut = 0; cut <= whole.Length; cut++)
        {
            using var output = new MemoryStream();
            output.Write(whole.AsSpan(0, cut));
            output.Position = 0;

            ResumePoint point = ResumePoint.Read(output, "out");
            point.RequireBeginningOf(Ids, "out");
            output.SetLength(point.Length);
            output.Seek(0, SeekOrigin.End);
            Write(output, point.Ids.Count, [.. Enumerable.Range(point.Ids.Count, Ids.Length - point.Ids.Count)]);

            Assert.Equal(whole.AsSpan(0, cut).Count((byte)'\n'), point.Ids.Count);
            Assert.Equal(point.Ids.Count > 1 ? 1 : 0, point.Errors);
            Assert.Equal(whole, output.ToArray());
        }
    }

    [Fact]
    public void Add_DeviceFullAtEveryByte_LeavesCompleteLines()
    {
        byte[] whole = Write(new MemoryStream(), 0, 0, 1, 2, 3);
        for (int room = 0; room < whole.Length; room++)
        {
            using var output = new FullStream(room);

            var error = Assert.Throws<CommandException>(() => Write(output, 0, 0, 1, 2, 3));

            Assert.StartsWith("Writing out failed after ", error.Message, StringComparison.Ordinal);
            byte[] left = output.ToArray();
            Assert.True(left.Length == 0 || left[^1] == '\n');
            Assert.Equal(whole.AsSpan(0, room).Count((byte)'\n'), left.Count(value => value == '\n'));
        }
    }

    [Theory]
    [InlineData("{\"id\":\"a\"}\nnot json\n", 1)]
    [InlineData("{\"id\":\"a\"}\n\0\0\0\0", 1)]
    [InlineData("{\"id\":\"a\"}\n[1]\n", 1)]
    [InlineData("{\"id\":\"a\"}\n{\"id\":\"b\"}", 1)]
    [InlineData("{\"id\":7}\n{\"id\":\"x\",\"custom_id\":\"b\"}\n", 2)]
    public void ResumePoint_LastLineNoAnswer_IsTorn(string text, int complete)
    {
        ResumePoint point = ResumePoint.Read(new MemoryStream(Encoding.UTF8.GetBytes(text)), "out");

        Assert.Equal(complete, point.Ids.Count);
        Assert.Equal(complete == 2 ? "b" : "a", point.Ids[^1]);
    }

    [Fact]
    public void ResumePoint_EarlierLineNoAnswer_Throws()
    {
        var error = Assert.Throws<CommandException>(() => ResumePoint.Read(new MemoryStream("{\"id\":\"a\"}\nnot\n{\"id\":\"b\"}\n"u8.ToArray()), "out"));

        Assert.Equal("out cannot be resumed: line 2 is no answer.", error.Message);
    }

    [Fact]
    public void ResumePoint_OtherInput_Throws()
    {
        var point = new ResumePoint(["a", "c"], 0, 0);

        var other = Assert.Throws<CommandException>(() => point.RequireBeginningOf(Ids, "out"));
        var shorter = Assert.Throws<CommandException>(() => point.RequireBeginningOf(["a"], "out"));

        Assert.Contains("answer 2 is for 'c', the input has 'b' there", other.Message, StringComparison.Ordinal);
        Assert.Contains("it has 2 answers, the input has 1 lines", shorter.Message, StringComparison.Ordinal);
        point.RequireBeginningOf(["a", "c", "d"], "out");
    }

    /// <summary>Takes a number of bytes; a write beyond them stores what fits and fails, as a full disk does.</summary>
    private sealed class FullStream(int room) : MemoryStream
    {
        public override void Write(ReadOnlySpan<byte> buffer)
        {
            int fits = (int)Math.Min(buffer.Length, room - Position);
            base.Write(buffer[..fits].ToArray(), 0, fits);
            if (fits < buffer.Length) throw new IOException("No space left on device.");
        }
    }
}
