using System.Globalization;
using System.Runtime.InteropServices;

namespace KernelForge.Inference;

/// <summary>Collects the prompts of a generated workload and gives them times of arrival.</summary>
internal sealed class WorkloadBuilder(WorkloadOptions options)
{
    private readonly List<Draft> _drafts = [];
    private readonly List<int> _tokens = [];
    private ulong _stream;

    private readonly record struct Draft(Request Request, int OutputTokens, FollowUp? Next);

    public SimulatedRandom Random { get; } = new(options.Seed);

    /// <summary>A stream of tokens that nobody has had yet.</summary>
    public ulong NewStream() => SimulatedRandom.Hash(options.Seed, ++_stream);

    /// <summary>A length in tokens, scaled and at least 1.</summary>
    public int Length(double tokens) => (int)Math.Max(1, Math.Round(tokens * options.LengthScale));

    /// <summary>A log-normal length, from 1 to the limit, scaled.</summary>
    public int Length(double mean, double sigma, int limit) => Math.Clamp(Length(Random.LogNormal(mean, sigma)), 1, Length(limit));

    /// <summary>Starts the next prompt with the beginning of a stream.</summary>
    public WorkloadBuilder Append(ulong stream, int length)
    {
        int start = _tokens.Count;
        CollectionsMarshal.SetCount(_tokens, start + length);
        SimulatedTokens.Fill(CollectionsMarshal.AsSpan(_tokens)[start..], stream);
        return this;
    }

    /// <summary>Ends the prompt: it is a request now, the first turn of a session where others follow.</summary>
    public void Add(string taskClass, int outputTokens, int maxTokens, FollowUp? next = null)
    {
        var request = new Request(CollectionsMarshal.AsSpan(_tokens), new SamplingOptions { MaxTokens = maxTokens })
        {
            TaskClass = taskClass,
            Session = next is null ? "" : string.Create(CultureInfo.InvariantCulture, $"session-{_drafts.Count}"),
            ExpectedTokens = Workload.Expected(options.Lengths, outputTokens, maxTokens),
        };
        _tokens.Clear();
        _drafts.Add(new Draft(request, outputTokens, next));
    }

    /// <summary>Shuffles the requests and lets them arrive.</summary>
    public Workload Build(string name)
    {
        Random.Shuffle(CollectionsMarshal.AsSpan(_drafts));
        double seconds = 0;
        var requests = new List<SimulatedRequest>(_drafts.Count);
        foreach (Draft draft in _drafts)
        {
            if (options.Rate is { } rate) seconds += Random.Exponential(1 / rate);
            requests.Add(new SimulatedRequest(draft.Request, TimeSpan.FromSeconds(seconds), draft.OutputTokens) { Next = draft.Next });
        }
        return new Workload(name, requests, options.Lengths);
    }
}
