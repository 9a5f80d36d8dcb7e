using KernelForge.Inference;
using SimulatedWorkload = KernelForge.Inference.Workload;

namespace KernelForge.Tests;

/// <summary>Small simulations with a cost model of two constants.</summary>
internal static class Simulated
{
    public static SchedulerOptions Scheduler(int blocks = 4096) => new() { BlockCount = blocks, BlockSize = 16, ContextLength = 8192, TokenBudget = 256, MaxSequences = 32 };

    public static SimulationOptions Options(SchedulerOptions? scheduler = null) => new()
    {
        Scheduler = scheduler ?? Scheduler(),
        SecondsOf = static shape => 1e-3 + 1e-5 * shape.Tokens,
    };

    public static SimulatedWorkload Named(string name, int requests, double? rate = null, double scale = 0.1, ulong seed = 1) =>
        SimulatedWorkload.Named(name, new WorkloadOptions { Requests = requests, Rate = rate, LengthScale = scale, Seed = seed });

    /// <summary>One request of tokens that nobody else has.</summary>
    public static SimulatedRequest Request(int prompt, int output, double arrival = 0, ulong stream = 1, int? limit = null, TimeSpan? timeout = null)
    {
        var tokens = new int[prompt];
        SimulatedTokens.Fill(tokens, stream);
        return new SimulatedRequest(new Request(tokens, new SamplingOptions { MaxTokens = limit ?? output }) { Timeout = timeout }, TimeSpan.FromSeconds(arrival), output);
    }

    public static SimulatedWorkload Of(params SimulatedRequest[] requests) => new("test", requests);
}
