namespace KernelForge.Inference;

/// <summary>Workloads of people and agents who talk with a model.</summary>
internal sealed class ChatWorkloads(WorkloadOptions options)
{
    private const int AgentContext = 8_000;

    private readonly WorkloadBuilder _builder = new(options);

    /// <summary>
    /// Lengths like those of ShareGPT: 161.31 prompt tokens and 337.99 output tokens on average, the means of the vLLM paper (arXiv:2309.06180). The paper
    /// shows the shapes only; here they are log-normal (1.1 and 0.9 as deviation of the logarithm), cut at 2,048. Of every prompt the first 32 tokens
    /// are a system prompt; nothing else is shared. The limit of every answer is 2,048.
    /// </summary>
    public Workload ShareGpt(string name)
    {
        const int Limit = 2048, SystemTokens = 32;
        int system = _builder.Length(SystemTokens);
        ulong systemStream = _builder.NewStream();
        for (int i = 0; i < (options.Requests ?? 2000); i++)
        {
            _builder.Append(systemStream, system).Append(_builder.NewStream(), _builder.Length(161.31 - SystemTokens, 1.1, Limit));
            _builder.Add("chat", _builder.Length(337.99, 0.9, Limit), _builder.Length(Limit));
        }
        return _builder.Build(name);
    }

    /// <summary>
    /// Agents: a system prompt of 1,500 tokens with the descriptions of tools, a task (mean 300), then turns (10 on average, 30 at most) whose prompts
    /// grow by the answer (mean 120, limit 1,024) and a tool's result (mean 350). A tool takes 2 s on average, sometimes much more. A conversation ends
    /// before its context has 8,000 tokens.
    /// </summary>
    public Workload Agents(string name)
    {
        int count = options.Requests ?? 2000, system = _builder.Length(1500);
        ulong systemStream = _builder.NewStream();
        while (count > 0)
        {
            int task = _builder.Length(300, 0.7, 2000), output = AnswerLength();
            FollowUp? next = Turns(Math.Min(count, TurnCount()) - 1, system + task + output, out int turns);
            count -= 1 + turns;
            _builder.Append(systemStream, system).Append(_builder.NewStream(), task).Add("agent", output, AnswerLimit, next);
        }
        return _builder.Build(name);
    }

    private int AnswerLimit => _builder.Length(1024);

    /// <summary>Up to <paramref name="most"/> turns after a context of so many tokens; null when there is none.</summary>
    private FollowUp? Turns(int most, int context, out int turns)
    {
        var forward = new List<FollowUp>();
        for (; forward.Count < most; context += forward[^1].NewTokens.Count + forward[^1].OutputTokens)
        {
            var result = new int[_builder.Length(350, 1.0, 4000)];
            SimulatedTokens.Fill(result, _builder.NewStream());
            if (context + result.Length + AnswerLimit > _builder.Length(AgentContext)) break;
            forward.Add(new FollowUp(TimeSpan.FromSeconds(_builder.Random.LogNormal(2, 1.2)), result, AnswerLimit, AnswerLength()));
        }

        turns = forward.Count;
        FollowUp? first = null;
        for (int i = turns - 1; i >= 0; i--) first = forward[i] with { Next = first };
        return first;
    }

    private int AnswerLength() => _builder.Length(120, 0.8, 1024);

    private int TurnCount() => (int)Math.Min(30, 1 + _builder.Random.Exponential(9.5));
}
