using System.Text;
using KernelForge.Inference;
using SimulatedWorkload = KernelForge.Inference.Workload;

namespace KernelForge.Tests;

public class TraceReaderTests
{
    [Fact]
    public void Read_AllKeys_AreTaken()
    {
        SimulatedWorkload workload = Read(
            """{"arrival":0,"prompt_tokens":50,"prefix_id":"a","prefix_tokens":32,"output_tokens":7,"max_tokens":90,"class":"chat","tenant":"t","priority":-2,"timeout":1.5,"id":"q1"}""",
            "",
            """{"arrival":0.5,"prompt_tokens":40,"prefix_id":"a","prefix_tokens":32,"output_tokens":3,"other":[]}""",
            """{"arrival":0.5,"prompt_token_ids":[5,6,7],"output_tokens":1}""");

        SimulatedRequest first = workload.Requests[0], second = workload.Requests[1], third = workload.Requests[2];
        Assert.Equal("trace", workload.Name);
        Assert.Equal((50, 7, 90), (first.Request.PromptTokenIds.Length, first.OutputTokens, first.Request.Sampling.MaxTokens));
        Assert.Equal(("chat", "t", -2, "q1"), (first.Request.TaskClass, first.Request.Tenant, first.Request.Priority, first.Request.Id));
        Assert.Equal(TimeSpan.FromSeconds(1.5), first.Request.Timeout);
        Assert.Equal((TimeSpan.FromSeconds(0.5), 3, 3), (second.Arrival, second.OutputTokens, second.Request.Sampling.MaxTokens));
        Assert.Equal(32, first.Request.PromptTokenIds.CommonPrefixLength(second.Request.PromptTokenIds));
        Assert.Equal([5, 6, 7], third.Request.PromptTokenIds.ToArray());
        Assert.Null(third.Request.Timeout);
    }

    [Theory]
    [InlineData("""{"arrival":-1,"prompt_tokens":5,"output_tokens":1}""", "arrival must be a number of seconds, 0 or more, not -1")]
    [InlineData("""{"arrival":1e400,"prompt_tokens":5,"output_tokens":1}""", "arrival must be a number of seconds")]
    [InlineData("""{"arrival":0.5,"prompt_tokens":5,"output_tokens":1}""", "before that of the line above, 1 s; it is 0.5 s")]
    [InlineData("""{"prompt_tokens":5,"output_tokens":1}""", "expected arrival")]
    [InlineData("""{"arrival":2,"output_tokens":1}""", "expected prompt_tokens or prompt_token_ids")]
    [InlineData("""{"arrival":2,"prompt_tokens":5}""", "expected output_tokens")]
    [InlineData("""{"arrival":2,"prompt_tokens":0,"output_tokens":1}""", "prompt_tokens must be a whole number from 1")]
    [InlineData("""{"arrival":2,"prompt_tokens":5,"output_tokens":0}""", "output_tokens must be a whole number, 1 or more, not 0")]
    [InlineData("""{"arrival":2,"prompt_tokens":5.5,"output_tokens":1}""", "not 5.5")]
    [InlineData("""{"arrival":2,"prompt_tokens":5,"output_tokens":4,"max_tokens":3}""", "max_tokens must be a whole number, 4 or more, not 3")]
    [InlineData("""{"arrival":2,"prompt_tokens":5,"output_tokens":1,"prefix_id":"a","prefix_tokens":6}""", "prefix_tokens must be a whole number from 0 to 5, not 6")]
    [InlineData("""{"arrival":2,"prompt_tokens":5,"output_tokens":1,"prefix_tokens":2}""", "expected prefix_id")]
    [InlineData("""{"arrival":2,"prompt_tokens":5,"output_tokens":1,"prefix_id":"a"}""", "expected prefix_tokens")]
    [InlineData("""{"arrival":2,"prompt_token_ids":[],"output_tokens":1}""", "prompt_token_ids must be a list of one token id or more")]
    [InlineData("""{"arrival":2,"prompt_token_ids":[1,-1],"output_tokens":1}""", "prompt_token_ids[1] must be a token id, 0 or above, not -1")]
    [InlineData("""{"arrival":2,"prompt_tokens":5,"output_tokens":1,"timeout":"x"}""", "timeout must be a number of seconds")]
    [InlineData("""{"arrival":2,"prompt_tokens":5,"output_tokens":1,"tenant":[]}""", "tenant must be a string, not []")]
    [InlineData("[1]", "the line must be a JSON object, not [1]")]
    [InlineData("{", "")]
    public void Read_BadLine_NamesFileLineAndWhatWasExpected(string line, string complaint)
    {
        InvalidDataException error = Assert.Throws<InvalidDataException>(() => Read("""{"arrival":1,"prompt_tokens":5,"output_tokens":1}""", "", line));

        Assert.StartsWith("folder/trace.jsonl, line 3: ", error.Message);
        Assert.Contains(complaint, error.Message);
    }

    [Fact]
    public void Read_NoLine_Throws() => Assert.Contains("it has none", Assert.Throws<InvalidDataException>(() => Read("")).Message);

    [Fact]
    public void Read_Most_TakesTheFirst()
    {
        const string Line = """{"arrival":1,"prompt_tokens":5,"output_tokens":1}""";
        using var stream = new MemoryStream(Encoding.UTF8.GetBytes($"{Line}\n{Line}\nnonsense\n"));
        Assert.Equal(2, TraceReader.Read(stream, "t", most: 2).RequestCount);
    }

    private static SimulatedWorkload Read(params string[] lines)
    {
        using var stream = new MemoryStream(Encoding.UTF8.GetBytes(string.Join('\n', lines)));
        return TraceReader.Read(stream, "folder/trace.jsonl");
    }
}
