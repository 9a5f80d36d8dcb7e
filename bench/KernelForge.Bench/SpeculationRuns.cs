using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Running;
using KernelForge.Inference;

namespace KernelForge.Bench;

/// <summary>What one run of a case came to.</summary>
internal sealed record SpeculationRun(long PromptTokens, long OutputTokens, long Drafts, long AcceptedDrafts, TimeSpan Draft, TimeSpan Verify, TimeSpan Other);

/// <summary>
/// The demo pair on the CPU with every kind of drafter, and without. Every iteration has an engine of its own, because engines of the same case differ in
/// speed; it has answered all prompts before, so that they are in the prefix cache, decoding is what is timed, and the cost of steps is known.
/// </summary>
[InvocationCount(1), WarmupCount(2), IterationCount(9)]
public abstract class SpeculationRuns
{
    private static readonly Dictionary<(string Method, (string, int, int) Load), SpeculationRun> Last = [];

    private Device _device = null!;
    private Engine _engine = null!;
    private List<Request> _requests = [];
    private string _method = "";

    /// <summary>Prompts of a run, and how many of them at the same time.</summary>
    protected abstract (string Task, int Prompts, int Running) Load { get; }

    /// <summary>The last run of a case; null before there is one.</summary>
    internal static SpeculationRun? LastOf(BenchmarkCase benchmarkCase)
    {
        Type type = benchmarkCase.Descriptor.Type;
        var runs = (SpeculationRuns)Activator.CreateInstance(type)!;
        foreach (var parameter in benchmarkCase.Parameters.Items) type.GetProperty(parameter.Name)!.SetValue(runs, parameter.Value);
        return Last.GetValueOrDefault((benchmarkCase.Descriptor.WorkloadMethod.Name, runs.Load));
    }

    [IterationSetup(Target = nameof(Plain))]
    public void OpenPlain() => Open(nameof(Plain), null);

    [IterationSetup(Target = nameof(NGram))]
    public void OpenNGram() => Open(nameof(NGram), new SpeculationOptions());

    [IterationSetup(Target = nameof(DraftModel))]
    public void OpenDraftModel() => Open(nameof(DraftModel), new SpeculationOptions { DraftModel = TicketsDemo.Draft });

    [IterationSetup(Target = nameof(DraftModelOf4))]
    public void OpenDraftModelOf4() => Open(nameof(DraftModelOf4), new SpeculationOptions { DraftModel = TicketsDemo.Draft, DraftLength = 4 });

    [IterationSetup(Target = nameof(Staged))]
    public void OpenStaged() => Open(nameof(Staged), new SpeculationOptions { DraftModel = TicketsDemo.Draft, Staged = true });

    [IterationSetup(Target = nameof(Tree))]
    public void OpenTree() => Open(nameof(Tree), new SpeculationOptions { DraftModel = TicketsDemo.Draft, Branches = 2 });

    [IterationCleanup]
    public void Close()
    {
        _engine.Dispose();
        _device.Dispose();
    }

    /// <summary>A token a step.</summary>
    [Benchmark(Baseline = true)]
    public void Plain() => Answer();

    /// <summary>Prompt lookup, draft length auto.</summary>
    [Benchmark]
    public void NGram() => Answer();

    /// <summary>The draft model, draft length auto.</summary>
    [Benchmark]
    public void DraftModel() => Answer();

    /// <summary>The draft model, always 4 tokens.</summary>
    [Benchmark]
    public void DraftModelOf4() => Answer();

    /// <summary>The draft model with prompt lookup of its own, draft length auto.</summary>
    [Benchmark]
    public void Staged() => Answer();

    /// <summary>Token trees of the draft model, two children of a node at most, draft length auto.</summary>
    [Benchmark]
    public void Tree() => Answer();

    private void Open(string method, SpeculationOptions? speculation)
    {
        (_method, _device) = (method, Device.OpenCpu());
        var options = new EngineOptions { MaxSequences = Load.Running, KvMemoryBytes = 256L << 20, Speculation = speculation };
        _engine = Engine.Load(TicketsDemo.Model, options, _device);
        _requests = [.. TicketsDemo.Requests(_engine, Load.Task).Take(Load.Prompts)];
        Answer();
    }

    private void Answer()
    {
        (long drafts, long accepted, TimeSpan draft, TimeSpan verify, TimeSpan other) = Counts();
        long outputs = _engine.Generate(_requests).Sum(completion => completion.TokenIds.Count);
        var now = Counts();
        Last[(_method, Load)] = new SpeculationRun(
            _requests.Sum(request => (long)request.PromptTokenIds.Length), outputs, now.Drafts - drafts, now.Accepted - accepted, now.Draft - draft, now.Verify - verify,
            now.Other - other);
    }

    /// <summary>How often a sequence had a draft in a step, what was accepted, and times of the phases.</summary>
    private (long Drafts, long Accepted, TimeSpan Draft, TimeSpan Verify, TimeSpan Other) Counts()
    {
        if (_engine.Speculation is not { } speculation) return default;
        long drafts = 0;
        foreach (long times in speculation.AcceptanceLengths) drafts += times;
        return (drafts, speculation.Accepted, speculation.DraftTime, speculation.VerifyTime, speculation.OtherTime);
    }}
