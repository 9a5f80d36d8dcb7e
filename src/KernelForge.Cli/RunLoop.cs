using System.Diagnostics;
using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary>Runs requests to their ends, writes answers as their turn comes and counts what happens.</summary>
internal sealed class RunLoop(Engine engine, AnswerJson json, AnswerWriter writer, ExpectedAnswers? expected)
{
    private readonly Dictionary<Request, Answer> _open = [];
    private readonly StepTimes _times = new();
    private SchedulerCounters _before;
    private int _compared, _right;

    public int Errors { get; private set; }

    public long PromptTokens { get; private set; }

    public StepTimes Times => _times;

    public (int Compared, int Right)? Score => expected is null ? null : (_compared, _right);

    /// <summary>Queues an answer's request, or writes its error. A request that the engine refuses becomes an error.</summary>
    public void Add(Answer answer)
    {
        if (answer.Request is { } request) TryQueue(answer, request);
        if (answer.IsComplete) Write(answer);
    }

    /// <summary>Steps until all is answered. Returns false when told to stop before.</summary>
    public bool Run(Progress progress, int blocks, CancellationToken stop)
    {
        while (engine.HasWork)
        {
            if (stop.IsCancellationRequested) return false;
            Step();
            SchedulerCounters now = _before;
            progress.Show(new ProgressState(writer.Next, now.PromptTokensComputed + now.OutputTokens, now.Running, (double)now.BlocksInUse / blocks));
        }
        return true;
    }

    private void TryQueue(Answer answer, Request request)
    {
        try
        {
            engine.Add(request);
        }
        catch (ArgumentException error)
        {
            answer.Fail(SamplingKeys.InLineNames(error));
            return;
        }
        _open.Add(request, answer);
        PromptTokens += (long)answer.PromptTokens * request.Sampling.N;
    }

    private void Step()
    {
        long start = Stopwatch.GetTimestamp();
        IReadOnlyList<TokenEvent> gains = engine.Step();
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;

        int firsts = 0;
        foreach (TokenEvent gained in gains)
        {
            Answer answer = _open[gained.Request];
            if (answer.Add(gained)) firsts++;
            if (!answer.IsComplete) continue;
            _open.Remove(gained.Request);
            Write(answer);
        }

        SchedulerCounters now = engine.Counters;
        long prefill = now.PromptTokensComputed + now.TokensRecomputed - _before.PromptTokensComputed - _before.TokensRecomputed;
        _times.Add(seconds, prefill, now.OutputTokens - _before.OutputTokens - firsts);
        _before = now;
    }

    private void Write(Answer answer)
    {
        if (answer.Error is not null) Errors++;
        if (expected?.IsRight(answer) is { } right)
        {
            _compared++;
            if (right) _right++;
        }
        writer.Add(answer.Index, json.LineOf(answer));
    }
}
