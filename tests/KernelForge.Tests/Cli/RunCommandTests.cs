using System.Text.Json.Nodes;
using KernelForge.Cli;

namespace KernelForge.Tests;

public class RunCommandTests
{
    private const string Batch = """{"custom_id":"b1","method":"POST","url":"/v1/completions","body":{"model":"m","prompt":"Once","max_tokens":3,"logprobs":2}}""";
    private const string Chat =
        """{"custom_id":"c1","method":"POST","url":"/v1/chat/completions","body":{"messages":[{"role":"user","content":"hi"}],"max_tokens":3,"logprobs":true,"top_logprobs":1}}""";

    private static string[] Prompts(int count) =>
        [.. Enumerable.Range(0, count).Select(i => $$"""{"id":"q{{i}}","prompt":"A shared beginning of every prompt, and then {{i * 37}}","max_tokens":{{1 + 5 * i % 7}}}""")];

    [Fact]
    public void Run_PlainLines_AnswersEachInInputOrder()
    {
        using var session = new KfSession();

        int code = session.Run([.. Prompts(6), """{"id":7,"prompt_token_ids":[0,5,9],"max_tokens":2,"ignore_eos":true}"""], "--max-sequences", "3");

        Assert.Equal(0, code);
        Assert.Equal(["q0", "q1", "q2", "q3", "q4", "q5", "7"], session.Answers.Select(answer => answer["id"]!.ToString()));
        foreach (JsonObject answer in session.Answers.Select(answer => answer.AsObject()))
            Assert.Equal(["id", "text", "token_ids", "finish_reason", "prompt_tokens", "cached_tokens"], answer.Select(member => member.Key));
        JsonNode last = session.Answers[^1];
        Assert.Equal((3, 2, "length"), ((int)last["prompt_tokens"]!, last["token_ids"]!.AsArray().Count, (string)last["finish_reason"]!));
        Assert.StartsWith("{\"id\":7,", session.OutputLines[^1], StringComparison.Ordinal);
    }

    [Fact]
    public void Run_TokensThatEnd_SpellTheText()
    {
        using var session = new KfSession();

        session.Run(["""{"id":"a","prompt":"Once","max_tokens":12,"ignore_eos":true,"logit_bias":{"0":-1000,"1":-1000}}"""]);

        JsonNode answer = session.Answers[0];
        string spelled = new([.. answer["token_ids"]!.AsArray().Select(id => (char)(' ' + (int)id! - 2))]);
        Assert.Equal(12, spelled.Length);
        Assert.Equal(spelled, (string)answer["text"]!);
        Assert.Equal(5, (int)answer["prompt_tokens"]!); // begin-of-sequence and four letters
    }

    [Fact]
    public void Run_ComputeType_IsNamedAndTheDeviceToo()
    {
        using var session = new KfSession();

        Assert.Equal(0, session.Run(Prompts(2), "--compute-type", "f16"));

        Assert.Contains("device            CPU (1 threads, ", session.Error, StringComparison.Ordinal);
        Assert.Contains("computing in F16" + Environment.NewLine, session.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Run_Raw_AddsNoSpecialTokens()
    {
        using var session = new KfSession();

        session.Run(["""{"id":"a","prompt":"Once","max_tokens":1}"""], "--raw");

        Assert.Equal(4, (int)session.Answers[0]["prompt_tokens"]!);
    }

    [Theory]
    [InlineData("--token-budget", "7")]
    [InlineData("--max-sequences", "1")]
    [InlineData("--max-sequences", "2000000000")]
    [InlineData("--block-size", "4")]
    [InlineData("--kv-memory", "200k")]
    [InlineData("--threads", "2")]
    [InlineData("--pin")]
    [InlineData("--no-prefix-cache")]
    [InlineData("--no-prefix-groups")]
    [InlineData("--equal-lengths", "2,5")]
    [InlineData("--draft", "ngram")]
    [InlineData("--draft", "ngram", "--draft-length", "5", "--token-budget", "9")]
    [InlineData("--draft", "MODEL")]
    [InlineData("--draft", "MODEL", "--draft-staged")]
    [InlineData("--draft", "MODEL", "--draft-branches", "2", "--kv-memory", "400k")]
    [InlineData("--draft", "MODEL", "--draft-length", "3", "--kv-memory", "400k", "--equal-lengths", "3")]
    public void Run_SwitchOfSpeedOrMemory_ChangesNoToken(params string[] options)
    {
        using var session = new KfSession();
        string[] lines = [.. Prompts(5), """{"id":"s","prompt":"A shared beginning","temperature":1,"seed":3,"max_tokens":9}"""];
        session.Run(lines);
        string[] expected = [.. session.Answers.Select(answer => answer["token_ids"]!.ToJsonString())];

        int code = session.Rerun(["--overwrite", .. options.Select(option => option == "MODEL" ? session.Model : option)]);

        Assert.Equal(0, code);
        Assert.Equal(expected, session.Answers.Select(answer => answer["token_ids"]!.ToJsonString()));
    }

    [Fact]
    public void Run_SamplesAndLogProbs_AreInTheAnswer()
    {
        using var session = new KfSession();

        session.Run(["""{"id":"a","prompt":"Once","max_tokens":4,"n":2,"temperature":1,"logprobs":2,"ignore_eos":true}"""]);

        JsonNode answer = session.Answers[0];
        Assert.Null(answer["text"]);
        Assert.Equal([0, 1], answer["choices"]!.AsArray().Select(choice => (int)choice!["index"]!));
        JsonNode entry = answer["choices"]![1]!["logprobs"]![3]!;
        Assert.Equal((int)answer["choices"]![1]!["token_ids"]![3]!, (int)entry["token_id"]!);
        Assert.Equal(2, entry["top"]!.AsArray().Count);
        Assert.True((float)entry["top"]![0]!["logprob"]! >= (float)entry["top"]![1]!["logprob"]!);
    }

    [Fact]
    public void Run_BatchLines_AreAnsweredInTheirFormat()
    {
        using var session = new KfSession();

        int code = session.Run([Batch, Chat]);

        Assert.Equal(0, code);
        JsonNode completion = session.Answers[0], body = completion["response"]!["body"]!;
        Assert.Equal(("batch_req_1", "b1", 200), ((string)completion["id"]!, (string)completion["custom_id"]!, (int)completion["response"]!["status_code"]!));
        Assert.Null(completion["error"]);
        Assert.Equal(("text_completion", "m"), ((string)body["object"]!, (string)body["model"]!));
        int tokens = body["choices"]![0]!["logprobs"]!["tokens"]!.AsArray().Count;
        Assert.InRange(tokens, 1, 3);
        Assert.Equal((5, tokens, 5 + tokens), ((int)body["usage"]!["prompt_tokens"]!, (int)body["usage"]!["completion_tokens"]!, (int)body["usage"]!["total_tokens"]!));
        Assert.Equal(0, (int)body["usage"]!["prompt_tokens_details"]!["cached_tokens"]!);

        JsonNode chat = session.Answers[1]["response"]!["body"]!, message = chat["choices"]![0]!["message"]!;
        Assert.Equal(("chat.completion", "assistant"), ((string)chat["object"]!, (string)message["role"]!));
        Assert.Equal("<s>user: hi A:".Length - 2, (int)chat["usage"]!["prompt_tokens"]!);
        Assert.Single(chat["choices"]![0]!["logprobs"]!["content"]![0]!["top_logprobs"]!.AsArray());
    }

    [Fact]
    public void Run_BadLines_AreErrorsAndTheOthersAnswered()
    {
        using var session = new KfSession();
        string[] lines =
        [
            """{"id":"good","prompt":"Once","max_tokens":2}""", """{"id":"broken" """, """{"id":"none"}""",
            $$"""{"id":"long","prompt":"{{new string('x', 1100)}}"}""", """{"id":"hot","prompt":"x","temperature":-1}""", """{"id":"good","prompt":"x"}""",
            """{"id":"alien","prompt_token_ids":[97]}""", """{"id":"empty","prompt_token_ids":[]}""", """{"id":"many","prompt":"x","n":1025}""",
            """{"id":"last","prompt":"Once","max_tokens":2}""",
        ];

        int code = session.Run(lines);

        Assert.Equal(2, code);
        Assert.Equal(["good", "line-2", "none", "long", "hot", "good", "alien", "empty", "many", "last"], session.Answers.Select(answer => (string)answer["id"]!));
        Assert.Equal([false, true, true, true, true, true, true, true, true, false], session.Answers.Select(answer => answer["error"] is not null));
        Assert.Contains("1024", (string)session.Answers[3]["error"]!, StringComparison.Ordinal);
        Assert.Equal(session.Answers[0]["token_ids"]!.ToJsonString(), session.Answers[^1]["token_ids"]!.ToJsonString());
        Assert.Contains("8 of them with errors", session.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Run_BadBatchLine_IsAnErrorInItsFormat()
    {
        using var session = new KfSession();

        int code = session.Run(["{", Batch, Batch.Replace("\"prompt\":\"Once\"", "\"prompt\":\"Once\",\"echo\":true", StringComparison.Ordinal)]);

        Assert.Equal(2, code);
        Assert.Equal("line-1", (string)session.Answers[0]["custom_id"]!);
        Assert.Null(session.Answers[0]["response"]);
        Assert.Equal("invalid_request", (string)session.Answers[0]["error"]!["code"]!);
        Assert.Contains("b1", (string)session.Answers[2]["error"]!["message"]!, StringComparison.Ordinal);
    }

    [Fact]
    public void Run_OutputExists_IsRefused()
    {
        using var session = new KfSession();
        session.Write("out.jsonl", "precious");

        int code = session.Run(Prompts(1));

        Assert.Equal(1, code);
        Assert.Equal($"kf: The output {session.Output} exists; --resume goes on from it, --overwrite replaces it.{Environment.NewLine}", session.Error);
        Assert.Equal(["precious"], session.OutputLines);
    }

    [Fact]
    public void Run_ResumeAfterATornLine_CompletesTheOutput()
    {
        using var session = new KfSession();
        session.Run([.. Prompts(5), "{"]);
        byte[] whole = File.ReadAllBytes(session.Output);
        string summary = session.PathOf("summary.json");

        File.WriteAllBytes(session.Output, whole[..(whole.Length / 2)]);
        int code = session.Rerun("--resume", "--summary", summary, "--no-prefix-cache");

        Assert.Equal(2, code);
        string[] resumed = session.OutputLines;
        Assert.Equal(["q0", "q1", "q2", "q3", "q4", "line-6"], session.Answers.Select(answer => (string)answer["id"]!));
        File.WriteAllBytes(session.Output, whole);
        Assert.Equal(session.Answers.Select(answer => answer["token_ids"]?.ToJsonString()), resumed.Select(line => JsonNode.Parse(line)!["token_ids"]?.ToJsonString()));
        JsonNode numbers = JsonNode.Parse(File.ReadAllText(summary))!;
        Assert.Equal(6, (int)numbers["already_answered"]! + (int)numbers["answered"]!);
        Assert.InRange((int)numbers["already_answered"]!, 1, 4);
    }

    [Fact]
    public void Run_ResumeOfACompleteOutput_ChangesNothingAndRemembersErrors()
    {
        using var session = new KfSession();
        session.Run([.. Prompts(2), "{"]);
        byte[] whole = File.ReadAllBytes(session.Output);

        int code = session.Rerun("--resume");

        Assert.Equal(2, code);
        Assert.Equal(whole, File.ReadAllBytes(session.Output));
    }

    [Fact]
    public void Run_ResumeOfAnotherInput_IsRefusedAndTouchesNothing()
    {
        using var session = new KfSession();
        session.Write("out.jsonl", """{"id":"q0"}""", """{"id":"other"}""", "torn");
        byte[] before = File.ReadAllBytes(session.Output);

        int code = session.Run(Prompts(3), "--resume");

        Assert.Equal(1, code);
        Assert.Contains("belongs to another input: answer 2 is for 'other', the input has 'q1' there", session.Error, StringComparison.Ordinal);
        Assert.Equal(before, File.ReadAllBytes(session.Output));
    }

    [Fact]
    public void Run_Score_CountsRightAnswers()
    {
        using var session = new KfSession();
        session.Run(Prompts(4));
        string[] expected = session.OutputLines;
        JsonNode wrong = session.Answers[1];
        wrong["text"] = "never said";
        string file = session.Write("expected.jsonl", expected[0], wrong.ToJsonString(), expected[2]);
        string summary = session.PathOf("summary.json");

        int code = session.Rerun("--overwrite", "--score", file, "--summary", summary);

        Assert.Equal(0, code);
        JsonNode numbers = JsonNode.Parse(File.ReadAllText(summary))!;
        Assert.Equal((3, 2), ((int)numbers["scored"]!, (int)numbers["right"]!));
        Assert.Equal(2.0 / 3, (double)numbers["accuracy"]!, 1e-9);
        Assert.Contains("0.6667: 2 of 3 answers are as expected", session.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Run_Summary_AddsUp()
    {
        using var session = new KfSession();
        string summary = session.PathOf("summary.json");

        session.Run(Prompts(6), "--summary", summary, "--max-sequences", "2");

        JsonNode numbers = JsonNode.Parse(File.ReadAllText(summary))!;
        Assert.Equal(session.Answers.Sum(answer => (long)answer["prompt_tokens"]!), (long)numbers["prompt_tokens"]!);
        Assert.Equal(session.Answers.Sum(answer => (long)answer["cached_tokens"]!), (long)numbers["prompt_tokens_shared"]!);
        Assert.Equal((long)numbers["prompt_tokens"]!, (long)numbers["prompt_tokens_computed"]! + (long)numbers["prompt_tokens_shared"]!);
        Assert.InRange((long)numbers["prompt_tokens_shared"]!, 5 * 32, long.MaxValue); // two full blocks of each but the first
        Assert.Equal(session.Answers.Sum(answer => answer["token_ids"]!.AsArray().Count), (int)numbers["generated_tokens"]!);
        string[] positive =
        [
            "prefill_tokens_per_second", "decode_tokens_per_second", "wall_seconds", "load_seconds", "kv_blocks", "kv_blocks_peak",
            "attention_kv_bytes", "attention_kv_bytes_without_groups",
        ];
        foreach (string name in positive) Assert.True((double)numbers[name]! > 0, name);
        Assert.True(numbers.AsObject().ContainsKey("accuracy"));
        Assert.Null(numbers["accuracy"]);
        Assert.False((bool)numbers["interrupted"]!);
    }

    [Fact]
    public void Run_StandardStreams_KeepAnswersApartFromTheRest()
    {
        using var session = new KfSession();
        string input = string.Join('\n', Prompts(3));

        int code = session.Kf(["run", "--model", session.Model, "--input", "-", "--output", "-"], input, CancellationToken.None);

        Assert.Equal(0, code);
        Assert.Equal(3, session.StandardOutput.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonNode.Parse(line)).Count());
        Assert.Contains("generated tokens", session.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Run_DraftsOfTheModelItself_AreAllAccepted()
    {
        using var session = new KfSession();
        string summary = session.PathOf("summary.json");

        Assert.Equal(0, session.Run(Prompts(6), "--summary", summary, "--draft", session.Model, "--draft-length", "2"));

        JsonNode drafts = JsonNode.Parse(File.ReadAllText(summary))!["speculation"]!;
        Assert.InRange((int)drafts["drafted_tokens"]!, 5, int.MaxValue);
        Assert.Equal((int)drafts["drafted_tokens"]!, (int)drafts["accepted_tokens"]!);
        Assert.Equal(0, (int)drafts["kv_bytes_moved"]!);
        Assert.Contains("accepted, 0 B of keys and values moved", session.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Run_Quiet_SaysNothing()
    {
        using var session = new KfSession();

        session.Run(Prompts(2), "--quiet");

        Assert.Equal("", session.Error);
    }

    [Fact]
    public void Run_InterruptedBeforeItBegins_LeavesNoOutput()
    {
        using var session = new KfSession();
        session.Write("in.jsonl", Prompts(2));

        int code = session.Kf(["run", "--model", session.Model, "--input", session.Input, "--output", session.Output], "", new CancellationToken(canceled: true));

        Assert.Equal(130, code);
        Assert.False(File.Exists(session.Output));
    }

    [Fact]
    public async Task Run_InterruptedWhileItWaitsForInput_Ends()
    {
        using var session = new KfSession();
        using var stop = new CancellationTokenSource();
        using var input = new SilentStream(stop);
        using var error = new StringWriter();
        string[] arguments = ["run", "--model", session.Model, "--input", "-", "--output", session.Output];

        int code = await Task.Run(() => Commands.Run(arguments, new Terminal(input, Stream.Null, error), stop.Token)).WaitAsync(TimeSpan.FromSeconds(30));

        Assert.Equal(130, code);
        Assert.Contains("Interrupted before any work was done", error.ToString(), StringComparison.Ordinal);
        Assert.False(File.Exists(session.Output));
    }

    [Fact]
    public void Run_InterruptedAfterAStep_KeepsWhatIsAnsweredAndCanBeResumed()
    {
        using var session = new KfSession();
        session.Run(Prompts(6));
        string[] expected = [.. session.Answers.Select(answer => answer["token_ids"]!.ToJsonString())];
        using var stop = new CancellationTokenSource();
        using var error = new StringWriter();

        // One sequence at a time: the first progress line comes with the first answers.
        var terminal = new Terminal(Stream.Null, Stream.Null, new CancellingWriter(error, stop));
        string[] arguments = ["run", "--model", session.Model, "--input", session.Input, "--output", session.Output, "--overwrite", "--max-sequences", "1"];
        int code = Commands.Run(arguments, terminal, stop.Token);

        Assert.Equal(130, code);
        Assert.InRange(session.OutputLines.Length, 1, 5);
        Assert.Contains($"Interrupted with {session.OutputLines.Length} of 6 lines answered", error.ToString(), StringComparison.Ordinal);
        Assert.Equal(0, session.Rerun("--resume"));
        Assert.Equal(expected, session.Answers.Select(answer => answer["token_ids"]!.ToJsonString()));
    }

    [Fact]
    public void Run_DiskFull_SaysSoInOneSentence()
    {
        if (!File.Exists("/dev/full")) return;
        using var session = new KfSession();
        session.Write("in.jsonl", Prompts(2));

        int code = session.Kf("run", "--model", session.Model, "--input", session.Input, "--output", "/dev/full", "--overwrite", "--quiet");

        Assert.Equal(1, code);
        Assert.StartsWith("kf: Writing /dev/full failed after 0 answers (No space left on device", session.Error, StringComparison.Ordinal);
    }

    public static TheoryData<string, string> BrokenModels => new()
    {
        { "architecture", "LlamaForCausalLM" },
        { "tokenizer", "tokenizer.json" },
        { "weights", "model.safetensors" },
        { "config", "config.json" },
        { "memory", "Too little memory" },
        { "kv-memory", "--kv-memory must hold a block" },
        { "folder", "does not exist" },
        { "input", "does not exist" },
        { "score", "does not exist" },
        { "block-size", "too large" },
        { "threads", "--threads must be a whole number from 1 to" },
        { "summary", "cannot be written" },
        { "draft", "--draft must be ngram or a model folder that exists, not 'n-gram'; the nearest one is ngram" },
        { "summary-empty", "--summary" },
        { "summary-input", "--summary and --input are the same file" },
        { "summary-output", "--summary and --output are the same file" },
    };

    [Theory, MemberData(nameof(BrokenModels))]
    public void Run_SomethingUnusable_IsOneSentenceAndNoOutput(string what, string expected)
    {
        using var session = new KfSession();
        session.Write("in.jsonl", Prompts(1));
        string weights = Path.Combine(session.Model, "model.safetensors");
        string[] options = [];
        switch (what)
        {
            case "architecture":
                JsonObject config = TinyModel.ConfigOf("llama");
                config["architectures"] = new JsonArray("MambaForCausalLM");
                File.WriteAllText(Path.Combine(session.Model, "config.json"), config.ToJsonString());
                break;
            case "tokenizer": File.Delete(Path.Combine(session.Model, "tokenizer.json")); break;
            case "weights": File.WriteAllBytes(weights, File.ReadAllBytes(weights)[..^1000]); break;
            case "config": File.Delete(Path.Combine(session.Model, "config.json")); break;
            case "memory": options = ["--kv-memory", "900T"]; break;
            case "kv-memory": options = ["--kv-memory", "1k"]; break;
            case "folder": options = ["--model", session.PathOf("nowhere")]; break;
            case "input": File.Delete(session.Input); break;
            case "score": options = ["--score", session.PathOf("nowhere")]; break;
            case "block-size": options = ["--block-size", "2000000000"]; break;
            case "threads": options = ["--threads", "100000"]; break;
            case "summary": options = ["--summary", session.PathOf(new string('s', 300))]; break; // longer than a file name may be
            case "draft": options = ["--draft", "n-gram"]; break;
            case "summary-empty": options = ["--summary", ""]; break;
            case "summary-input": options = ["--summary", session.Input]; break;
            case "summary-output": options = ["--summary", session.Output]; break;
        }

        int code = session.Rerun(options);

        Assert.Equal(1, code);
        Assert.StartsWith("kf: ", session.Error, StringComparison.Ordinal);
        Assert.Contains(expected, session.Error, StringComparison.Ordinal);
        Assert.Single(session.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.False(File.Exists(session.Output));
    }

    /// <summary>Asks to stop when it is read, and gives nothing until it is disposed.</summary>
    private sealed class SilentStream(CancellationTokenSource stop) : MemoryStream
    {
        private readonly ManualResetEventSlim _disposed = new();

        public override int Read(byte[] buffer, int offset, int count)
        {
            stop.Cancel();
            _disposed.Wait();
            return 0;
        }

        protected override void Dispose(bool disposing)
        {
            _disposed.Set();
            base.Dispose(disposing);
        }
    }

    /// <summary>Asks to stop when something is written.</summary>
    private sealed class CancellingWriter(StringWriter inner, CancellationTokenSource stop) : StringWriter
    {
        public override void WriteLine(string? value)
        {
            stop.Cancel();
            inner.WriteLine(value);
        }
    }
}
