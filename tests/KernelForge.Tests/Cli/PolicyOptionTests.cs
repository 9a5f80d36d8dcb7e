using KernelForge.Cli;
using KernelForge.Inference;

namespace KernelForge.Tests;

public class PolicyOptionTests
{
    private static readonly string[] Lines =
    [
        .. Enumerable.Range(0, 9).Select(i => $$"""{"id":"q{{i}}","prompt":"A shared beginning of prompts {{i % 3}}, and then {{i * 37}}","max_tokens":{{1 + 5 * i % 7}}}"""),
        """{"id":"bad","prompt_token_ids":[5000],"max_tokens":2}""",
        """{"id":"last","prompt":"A shared beginning of prompts 0, and no more","max_tokens":4,"n":2,"temperature":1,"seed":5}""",
    ];

    [Fact]
    public void Run_EveryPolicy_GivesTheSameAnswersInTheSameOrder()
    {
        using var plain = new KfSession();
        Assert.Equal(2, plain.Run(Lines));
        string[] expected = [.. plain.Answers.Select(WithoutCachedTokens)];
        foreach (string name in ServingPolicy.Names)
        {
            using var session = new KfSession();

            Assert.Equal(2, session.Run(Lines, "--policy", name, "--token-budget", "16", "--max-sequences", "3", "--block-size", "4"));

            Assert.Equal(expected, session.Answers.Select(WithoutCachedTokens));
        }
    }

    [Fact]
    public void Run_Resume_PlansForTheLinesThatAreLeft()
    {
        using var whole = new KfSession();
        whole.Run(Lines);
        using var session = new KfSession();
        session.Run(Lines[..4]);

        session.Write("in.jsonl", Lines);
        Assert.Equal(2, session.Rerun("--resume", "--policy", "kernelforge"));

        Assert.Equal(whole.Answers.Select(WithoutCachedTokens), session.Answers.Select(WithoutCachedTokens));
    }

    [Fact]
    public void Policy_Unknown_ListsTheKnownOnesAndTheNearest()
    {
        using var session = new KfSession();

        Assert.NotEqual(0, session.Run(Lines, "--policy", "vlm"));

        Assert.Contains($"--policy must be one of {string.Join(", ", ServingPolicy.Names)}, not 'vlm'; the nearest one is vllm.", session.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Help_Policies_AreAllExplained()
    {
        using var session = new KfSession();

        session.Kf("run", "--help");

        string help = session.StandardOutput + session.Error;
        foreach (string name in ServingPolicy.Names) Assert.Contains($"\n  {name} ", help, StringComparison.Ordinal);
        Assert.All(help.Split('\n'), line => Assert.InRange(line.Length, 0, 160));
        Assert.IsType<ServingPolicy>(PolicyOption.Named("vllm"));
    }

    private static string WithoutCachedTokens(System.Text.Json.Nodes.JsonNode answer)
    {
        answer.AsObject().Remove("cached_tokens");
        return answer.ToJsonString();
    }
}
