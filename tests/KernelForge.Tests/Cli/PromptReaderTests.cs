using System.Text;
using KernelForge.Cli;

namespace KernelForge.Tests;

public class PromptReaderTests
{
    private static PromptRecord[] Read(params string[] lines) => ReadText(string.Join('\n', lines) + "\n");

    private static PromptRecord[] ReadText(string text) => [.. new PromptReader(SamplingOptions.Default with { MaxTokens = 9 }).Read(new MemoryStream(Encoding.UTF8.GetBytes(text)))];

    [Fact]
    public void Read_PlainLine_TakesPromptAndEveryOption()
    {
        PromptRecord record = Assert.Single(Read(
            """
            {"id":"a","prompt":"hé","max_tokens":3,"min_tokens":1,"temperature":0.5,"top_k":4,"top_p":0.9,"min_p":0.1,"repetition_penalty":1.1,
            """.Trim() + """
            "presence_penalty":0.2,"frequency_penalty":-0.3,"seed":-1,"stop":["x","y"],"stop_token_ids":[5],"ignore_eos":true,
            """.Trim() + """
            "include_stop_str_in_output":true,"logprobs":2,"logit_bias":{"7":-1.5},"n":2}
            """));

        Assert.Null(record.Error);
        Assert.Equal(("a", "hé", 1), (record.Id, record.Text, record.LineNumber));
        SamplingOptions sampling = record.Sampling;
        Assert.Equal((3, 1, 0.5f, 4, 0.9f, 0.1f), (sampling.MaxTokens, sampling.MinTokens, sampling.Temperature, sampling.TopK, sampling.TopP, sampling.MinP));
        Assert.Equal((1.1f, 0.2f, -0.3f, ulong.MaxValue), (sampling.RepetitionPenalty, sampling.PresencePenalty, sampling.FrequencyPenalty, sampling.Seed));
        Assert.Equal(["x", "y"], sampling.StopStrings);
        Assert.Equal([5], sampling.StopTokenIds);
        Assert.Equal((true, true, 2, 2), (sampling.IgnoreEndToken, sampling.IncludeStopString, sampling.LogProbs, sampling.N));
        Assert.Equal(-1.5f, sampling.LogitBias[7]);
    }

    [Fact]
    public void Read_OptionsNotGivenOrNull_AreTheDefaults()
    {
        PromptRecord[] records = Read("""{"id":"a","prompt":"x"}""", """{"id":"b","prompt":"x","max_tokens":null,"stop":null}""", """{"id":"c","prompt":"x","stop":"end"}""");

        Assert.Equal([9, 9, 9], records.Select(record => record.Sampling.MaxTokens));
        Assert.Equal(["end"], records[2].Sampling.StopStrings);
    }

    [Fact]
    public void Read_BlankLinesMarkAndCarriageReturns_AreNoLines()
    {
        PromptRecord[] records = ReadText("\uFEFF{\"prompt\":\"x\"}\r\n\r\n  \n{\"id\":7,\"prompt_token_ids\":[1,2]}\n   ");

        Assert.Equal(["line-1", "7"], records.Select(record => record.Id));
        Assert.All(records, record => Assert.Null(record.Error));
        Assert.True(records[1].IdIsNumber);
        Assert.Equal([1, 2], records[1].TokenIds!);
        Assert.Equal(4, records[1].LineNumber);
    }

    [Fact]
    public void Read_Messages_TakesStringsAndTextParts()
    {
        PromptRecord record = Assert.Single(Read("""{"messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]}"""));

        Assert.Equal([new("system", "s"), new("user", "ab")], record.Messages!);
    }

    [Theory]
    [InlineData("""{"id":"a","prompt":"x" """, "the line is no valid JSON")]
    [InlineData("""[1]""", "the line must be a JSON object, not [1]")]
    [InlineData("""{"id":"a"}""", "no prompt: the line needs prompt, prompt_token_ids or messages")]
    [InlineData("""{"id":"a","prompt":null}""", "no prompt")]
    [InlineData("""{"id":"a","prompt":"x","prompt_token_ids":[1]}""", "more than one of prompt")]
    [InlineData("""{"id":"a","prompt":7}""", "prompt must be a string, not 7")]
    [InlineData("""{"id":"a","prompt_token_ids":[1,"2"]}""", "prompt_token_ids[1] must be a whole number, not \"2\"")]
    [InlineData("""{"id":true,"prompt":"x"}""", "id must be a string or a whole number, not true")]
    [InlineData("""{"id":"a","prompt":"x","max_token":3}""", "unknown key 'max_token'; the nearest one is max_tokens")]
    [InlineData("""{"id":"a","prompt":"x","max_tokens":"3"}""", "max_tokens must be a whole number, not \"3\"")]
    [InlineData("""{"id":"a","prompt":"x","max_tokens":0}""", "max_tokens must be 1 or more, not 0")]
    [InlineData("""{"id":"a","prompt":"x","max_tokens":2,"min_tokens":3}""", "min_tokens must be in [0, max_tokens = 2], not 3")]
    [InlineData("""{"id":"a","prompt":"x","temperature":-1}""", "temperature must be finite and not negative, not -1")]
    [InlineData("""{"id":"a","prompt":"x","top_p":2}""", "top_p must be in (0, 1], not 2")]
    [InlineData("""{"id":"a","prompt":"x","logit_bias":{"b":1}}""", "logit_bias must be keyed by token ids, not 'b'")]
    [InlineData("""{"id":"a","prompt":"x","prompt":"y"}""", "the line is no valid JSON")]
    [InlineData("""{"id":"a","prompt":"\ud800"}""", "the line has a string that is no valid Unicode text")]
    [InlineData("""{"id":"a","messages":[]}""", "messages must not be empty")]
    [InlineData("""{"id":"a","messages":[{"role":"user"}]}""", "messages[0] needs role and content")]
    [InlineData("""{"id":"a","messages":[{"role":"user","content":[{"type":"image_url"}]}]}""", "content[0] must be a text part")]
    public void Read_BadPlainLine_SaysWhatIsWrong(string line, string expected)
    {
        PromptRecord record = Assert.Single(Read(line));

        Assert.StartsWith(expected, record.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("Parameter", record.Error!, StringComparison.Ordinal);
        Assert.Equal(LineFormat.Plain, record.Format);
    }

    [Fact]
    public void Read_DuplicateId_IsAnErrorOfTheLaterLine()
    {
        PromptRecord[] records = Read("""{"id":"a","prompt":"x"}""", """{"id":"b","prompt":"x"}""", """{"id":"a","prompt":"y"}""");

        Assert.Equal([null, null, "the id 'a' is used by an earlier line"], records.Select(record => record.Error));
        Assert.Equal("a", records[2].Id);
    }

    [Fact]
    public void Read_BatchCompletion_TakesTextOrIds()
    {
        PromptRecord[] records = Read(
            """{"custom_id":"a","method":"POST","url":"/v1/completions","body":{"model":"m","prompt":"x","max_tokens":4,"logprobs":3,"user":"u","top_k":5,"echo":false,"best_of":1}}""",
            """{"custom_id":"b","url":"/v1/completions","body":{"prompt":[1,2],"stop":null}}""");

        Assert.All(records, record => Assert.Null(record.Error));
        Assert.All(records, record => Assert.Equal(LineFormat.BatchCompletion, record.Format));
        Assert.Equal(("a", "m", "x"), (records[0].Id, records[0].Model, records[0].Text));
        Assert.Equal((4, 3, 5), (records[0].Sampling.MaxTokens, records[0].Sampling.LogProbs, records[0].Sampling.TopK));
        Assert.Equal([1, 2], records[1].TokenIds!);
    }

    [Theory]
    [InlineData("", null)]
    [InlineData(""","logprobs":true""", 0)]
    [InlineData(""","logprobs":true,"top_logprobs":5""", 5)]
    [InlineData(""","logprobs":false""", null)]
    public void Read_BatchChat_TakesItsOwnOptions(string more, int? logProbs)
    {
        PromptRecord record = Assert.Single(Read(
            """{"custom_id":"a","url":"/v1/chat/completions","body":{"messages":[{"role":"user","content":"hi"}],"max_completion_tokens":5,"response_format":{"type":"text"}""" + more + "}}"));

        Assert.Null(record.Error);
        Assert.Equal((LineFormat.BatchChat, 5, logProbs), (record.Format, record.Sampling.MaxTokens, record.Sampling.LogProbs));
        Assert.Equal([new("user", "hi")], record.Messages!);
    }

    [Theory]
    [InlineData("/v1/embeddings", """{"prompt":"x"}""", "url must be /v1/completions or /v1/chat/completions, not /v1/embeddings")]
    [InlineData("/v1/completions", """{"prompt":"x","echo":true}""", "echo true is not supported")]
    [InlineData("/v1/completions", """{"prompt":"x","stream":true}""", "stream true is not supported")]
    [InlineData("/v1/completions", """{"prompt":"x","best_of":2}""", "best_of 2 is not supported")]
    [InlineData("/v1/completions", """{"prompt":"x","suffix":"y"}""", "unknown key 'suffix'")]
    [InlineData("/v1/completions", """{"messages":[{"role":"user","content":"hi"}]}""", "a completion takes prompt, not messages")]
    [InlineData("/v1/completions", """{"prompt":["x","y"]}""", "prompt[0] must be a whole number, not \"x\"")]
    [InlineData("/v1/completions", "7", "body must be an object, not 7")]
    [InlineData("/v1/chat/completions", """{"prompt":"x"}""", "a chat completion takes messages, not prompt")]
    [InlineData("/v1/chat/completions", """{"model":"m"}""", "no prompt: the body needs messages")]
    [InlineData("/v1/chat/completions", """{"messages":[{"role":"user","content":"hi"}],"top_logprobs":1}""", "top_logprobs needs logprobs to be true")]
    [InlineData("/v1/chat/completions", """{"messages":[{"role":"user","content":"hi"}],"tools":[]}""", "unknown key 'tools'")]
    [InlineData("/v1/chat/completions", """{"messages":[{"role":"user","content":"hi"}],"response_format":{"type":"json_object"}}""", "response_format")]
    public void Read_BadBatchLine_SaysWhatIsWrong(string url, string body, string expected)
    {
        PromptRecord record = Assert.Single(Read($$"""{"custom_id":"a","method":"POST","url":"{{url}}","body":{{body}}}"""));

        Assert.StartsWith(expected, record.Error, StringComparison.Ordinal);
        Assert.NotEqual(LineFormat.Plain, record.Format);
        Assert.Equal("a", record.Id);
    }

    [Fact]
    public void Read_BrokenLine_HasTheFormatOfTheGoodLinesAroundIt()
    {
        const string batch = """{"custom_id":"a","url":"/v1/completions","body":{"prompt":"x"}}""";

        PromptRecord[] records = Read("{", batch, "{", """{"id":"c","prompt":"x"}""", "{");

        Assert.Equal(
            [LineFormat.BatchCompletion, LineFormat.BatchCompletion, LineFormat.BatchCompletion, LineFormat.Plain, LineFormat.Plain],
            records.Select(record => record.Format));
        Assert.Equal(["line-1", "a", "line-3", "c", "line-5"], records.Select(record => record.Id));
    }
}
