using System.Text;
using System.Text.Json.Nodes;
using System.Xml.Linq;
using KernelForge.Cli;
using KernelForge.Inference;
using SimulatedWorkload = KernelForge.Inference.Workload;

namespace KernelForge.Tests;

public class SimulateCommandTests
{
    private static readonly string[] Small = ["--requests", "48", "--device", "a10", "--model", "llama-3-8b", "--weights", "w4"];

    [Fact]
    public void Simulate_Json_IsOneObjectWithTheFigures()
    {
        (int code, string output, string error) = Kf(["--workload", "batchllm", "--policy", "vllm", "--slo-ttft", "2", "--slo-tbt", "0.5", "--json", .. Small]);

        Assert.Equal((0, ""), (code, error));
        JsonObject report = JsonNode.Parse(output)!.AsObject();
        Assert.Equal(("batchllm", "vllm", "a10", "llama-3-8b"), (Text("workload"), Text("policy"), Text("device"), Text("model")));
        Assert.Equal((48, 48, 0), ((int)report["requests"]!, (int)report["completed"]!, (int)report["refused"]!));
        Assert.True((double)report["makespan_seconds"]! > 0);
        Assert.Equal(48 * 2200, (int)report["prompt_tokens"]!);
        Assert.Equal(48 * 2200, (int)report["prompt_tokens_computed"]! + (int)report["saved_prefill_tokens"]!);
        Assert.Equal(4800, (int)report["output_tokens"]!);
        string[] keys =
        [
            "requests_per_second", "output_tokens_per_second", "total_tokens_per_second", "saved_prefill_share", "optimal_saved_prefill_share", "tokens_recomputed",
            "preemptions", "evictions", "kv_utilisation", "steps", "goodput_requests_per_second", "requests_within_slo", "timeline",
        ];
        Assert.All(keys, key => Assert.True(report.ContainsKey(key), key));
        foreach (string latency in (string[])["time_to_first_token_seconds", "time_between_tokens_seconds", "end_to_end_seconds"])
            Assert.Equal(["mean", "p50", "p90", "p99", "max"], report[latency]!.AsObject().Select(pair => pair.Key));

        string Text(string key) => (string)report[key]!;
    }

    [Fact]
    public void Simulate_SeveralPolicies_RunsInOneObjectAndRatiosInTheTable()
    {
        (int code, string json, _) = Kf(["--workload", "sharegpt", "--policy", "vllm,reserve-all", "--json", .. Small]);
        (_, string table, _) = Kf(["--workload", "sharegpt", "--policy", "vllm,reserve-all", .. Small]);

        Assert.Equal(0, code);
        Assert.Equal(["vllm", "reserve-all"], JsonNode.Parse(json)!["runs"]!.AsArray().Select(run => (string)run!["policy"]!));
        Assert.Contains("vllm                 reserve-all", table);
        Assert.Matches(@"makespan, s +\d+\.\d\d +\d+\.\d\d \(\d+\.\d\dx\)", table);
        Assert.DoesNotContain("goodput", table);
        Assert.Contains("goodput", Kf(["--workload", "sharegpt", "--slo-ttft", "1", .. Small]).Output);
    }

    [Fact]
    public void Simulate_TraceAndSvg_AreReadAndWritten()
    {
        string folder = Directory.CreateTempSubdirectory("kf-simulate-").FullName, trace = Path.Combine(folder, "t.jsonl"), svg = Path.Combine(folder, "t.svg");
        File.WriteAllLines(trace, Enumerable.Range(0, 20).Select(i => $$"""{"arrival":{{i}},"prompt_tokens":100,"output_tokens":10}"""));

        (int code, string output, string error) = Kf(["--trace", trace, "--svg", svg, "--json", "--policy", "kernelforge-online"]);
        File.AppendAllText(trace, """{"arrival":3,"prompt_tokens":100,"output_tokens":10}""" + "\n");
        (int bad, _, string complaint) = Kf(["--trace", trace]);

        Assert.Equal((0, ""), (code, error));
        Assert.Equal(20, (int)JsonNode.Parse(output)!["completed"]!);
        Assert.Equal("svg", XDocument.Load(svg).Root!.Name.LocalName);
        Assert.Equal(1, bad);
        Assert.StartsWith($"kf: {trace}, line 21: arrival must not be before", complaint);
        Directory.Delete(folder, recursive: true);
    }

    [Theory]
    [InlineData("kernelforge, ", "--workload", "sharegpt", "--policy", "vllmm")]
    [InlineData("batchllm, two-level, sharegpt, agents", "--workload", "sharegtp")]
    [InlineData("h100, ", "--workload", "sharegpt", "--device", "h1000")]
    [InlineData("llama-3-8b, ", "--workload", "sharegpt", "--model", "llama-9")]
    [InlineData("batchllm, two-level, sharegpt, agents", "--policy", "vllm")]
    [InlineData("Either", "--workload", "sharegpt", "--trace", "x.jsonl")]
    [InlineData("--rate is for workloads", "--trace", "x.jsonl", "--rate", "3")]
    [InlineData("x.jsonl", "--trace", "x.jsonl")]
    [InlineData("oracle or history or limit", "--workload", "sharegpt", "--lengths", "some")]
    [InlineData("room for 161", "--workload", "batchllm", "--requests", "4", "--kv-blocks", "10")]
    [InlineData("llama-3-70b needs", "--workload", "sharegpt", "--model", "llama-3-70b", "--device", "a10")]
    public void Simulate_WhatCannotBe_SaysWhatThereIs(string complaint, params string[] arguments)
    {
        (int code, string output, string error) = Kf(arguments);

        Assert.Equal((1, ""), (code, output));
        Assert.StartsWith("kf: ", error);
        Assert.Contains(complaint, error);
        Assert.Single(error.TrimEnd().Split('\n'));
    }

    [Fact]
    public void Simulate_SomeRefused_SaysSoAndReportsTheRest()
    {
        string trace = Path.GetTempFileName();
        File.WriteAllLines(trace, ["""{"arrival":0,"prompt_tokens":100,"output_tokens":10}""", """{"arrival":0,"prompt_tokens":9000,"output_tokens":10}"""]);

        (int code, string output, string error) = Kf(["--trace", trace, "--json"]);

        File.Delete(trace);
        Assert.Equal(ExitCodes.SomeLinesFailed, code);
        Assert.Equal((1, 1), ((int)JsonNode.Parse(output)!["completed"]!, (int)JsonNode.Parse(output)!["refused"]!));
        Assert.Contains("1 of 2 requests were refused", error);
    }

    [Fact]
    public void Simulate_Interrupted_ExitsSo()
    {
        using var output = new MemoryStream();
        using var error = new StringWriter();
        Assert.Equal(ExitCodes.Interrupted, Commands.Run(["simulate", "--workload", "sharegpt"], new Terminal(Stream.Null, output, error), new CancellationToken(canceled: true)));
    }

    [Fact]
    public void Help_NamesAllPoliciesAndWorkloads()
    {
        (int code, string help, _) = Kf(["--help"]);

        Assert.Equal(0, code);
        Assert.All(ServingPolicy.Names.Concat(SimulatedWorkload.Names), name => Assert.Contains($"\n  {name} ", help));
    }

    [Fact]
    public void PrefixReads_ArePolicysUnlessSaid()
    {
        string[] ours = [.. ServingPolicy.Names.Where(name => ServingPolicy.Named(name).SharesPrefixReads)];
        string[] asked = ["--workload", "batchllm", "--policy", "vllm", "--json", .. Small];

        Assert.Equal(["kernelforge", "kernelforge-online", "reserve-all", "aggressive", "past-future"], ours);
        Assert.False((bool)JsonNode.Parse(Kf(asked).Output)!["shares_prefix_reads"]!);
        Assert.True((bool)JsonNode.Parse(Kf([.. asked, "--prefix-reads", "once"]).Output)!["shares_prefix_reads"]!);
    }

    private static (int Code, string Output, string Error) Kf(string[] arguments)
    {
        using var output = new MemoryStream();
        using var error = new StringWriter();
        int code = Commands.Run(["simulate", .. arguments], new Terminal(Stream.Null, output, error));
        return (code, Encoding.UTF8.GetString(output.ToArray()), error.ToString());
    }
}
