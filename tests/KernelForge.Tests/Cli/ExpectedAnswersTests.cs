using System.Text;
using KernelForge.Cli;

namespace KernelForge.Tests;

public class ExpectedAnswersTests
{
    private static ExpectedAnswers Read(string text) => ExpectedAnswers.Read(new MemoryStream(Encoding.UTF8.GetBytes(text)), "expected");

    private static Answer AnswerOf(string id, string text, params int[] tokenIds)
    {
        var request = new Request([1]);
        var answer = new Answer(0, new PromptRecord { LineNumber = 1, Id = id }, request, null);
        answer.Add(new TokenEvent { SequenceId = 0, Request = request, SampleIndex = 0, Text = text, TokenIds = tokenIds, FinishReason = FinishReason.Stop });
        return answer;
    }

    [Fact]
    public void IsRight_Text_IsComparedWithoutOuterWhiteSpace()
    {
        ExpectedAnswers expected = Read("""{"id":"a","text":" x y\n","token_ids":[9]}""" + "\n");

        Assert.True(expected.IsRight(AnswerOf("a", "x y ", 1)));
        Assert.False(expected.IsRight(AnswerOf("a", "x  y", 1)));
        Assert.False(expected.IsRight(AnswerOf("a", "X y", 1)));
    }

    [Fact]
    public void IsRight_TokenIdsOnly_AreCompared()
    {
        ExpectedAnswers expected = Read("""{"id":7,"token_ids":[1,2]}""");

        Assert.True(expected.IsRight(AnswerOf("7", "whatever", 1, 2)));
        Assert.False(expected.IsRight(AnswerOf("7", "whatever", 1)));
    }

    [Fact]
    public void IsRight_NothingExpected_IsNull() => Assert.Null(Read("""{"id":"a","text":"x"}""").IsRight(AnswerOf("b", "x", 1)));

    [Fact]
    public void IsRight_Error_IsNotTheExpectedAnswer() =>
        Assert.False(Read("""{"id":"a","text":""}""").IsRight(new Answer(0, new PromptRecord { LineNumber = 1, Id = "a" }, null, "no prompt")));

    [Theory]
    [InlineData("{\"id\":\"a\",\"text\":\"x\"}\n{", "expected, line 2: ")]
    [InlineData("{\"text\":\"x\"}", "expected, line 1: an expected answer needs an id.")]
    [InlineData("{\"id\":\"a\"}", "expected, line 1: an expected answer needs text or token_ids.")]
    [InlineData("{\"id\":\"a\",\"text\":\"x\"}\n{\"id\":\"a\",\"text\":\"x\"}", "expected, line 2: the id 'a' comes twice.")]
    [InlineData("7", "expected, line 1: an expected answer needs an id.")]
    public void Read_BadLine_Throws(string text, string message) =>
        Assert.StartsWith(message, Assert.Throws<CommandException>(() => Read(text)).Message, StringComparison.Ordinal);
}
