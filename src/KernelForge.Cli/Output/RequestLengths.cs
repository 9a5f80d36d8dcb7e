using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary>Lengths of requests, and how fast they come.</summary>
/// <param name="Prompts">Tokens of each prompt.</param>
/// <param name="Outputs">Tokens of each answer.</param>
/// <param name="ArrivalsPerSecond">Null where they are all there at the beginning, or nobody knows.</param>
internal sealed record RequestLengths(IReadOnlyList<int> Prompts, IReadOnlyList<int> Outputs, double? ArrivalsPerSecond)
{
    private const int SampleTokens = 16;

    /// <summary>Pairs of prompts and answers; a single one goes with all of the other list.</summary>
    public static RequestLengths Of(List<int> prompts, List<int> outputs)
    {
        int count = Math.Max(prompts.Count, outputs.Count);
        if ((prompts.Count != count && prompts.Count != 1) || (outputs.Count != count && outputs.Count != 1))
            throw new CommandException(
                $"--prompt-tokens and --output-tokens must have as many numbers, or one of them a single one, not {prompts.Count} and {outputs.Count}.");
        return new RequestLengths(Spread(prompts), Spread(outputs), null);

        List<int> Spread(List<int> lengths) => lengths.Count == count ? lengths : [.. Enumerable.Repeat(lengths[0], count)];
    }

    /// <summary>Those of all turns; the rate is that of first turns.</summary>
    public static RequestLengths Of(Workload workload)
    {
        List<int> prompts = [], outputs = [];
        foreach (SimulatedRequest request in workload.Requests)
        {
            Add(request.Request.PromptTokenIds.Length, request.OutputTokens);
            for (FollowUp? next = request.Next; next is not null; next = next.Next) Add(prompts[^1] + outputs[^1] + next.NewTokens.Count, next.OutputTokens);
        }
        double span = (workload.Requests[^1].Arrival - workload.Requests[0].Arrival).TotalSeconds;
        return new RequestLengths(prompts, outputs, span > 0 ? (workload.Requests.Count - 1) / span : null);

        void Add(int prompt, int output)
        {
            prompts.Add(prompt);
            outputs.Add(output);
        }
    }

    /// <summary>Context lengths that decodes meet: of each answer every 16th token's, so that long answers count as often as they are met.</summary>
    public List<int> Contexts()
    {
        List<int> contexts = [];
        for (int i = 0; i < Prompts.Count; i++)
            for (int token = Math.Min(SampleTokens / 2, Outputs[i] / 2); token < Outputs[i]; token += SampleTokens) contexts.Add(Prompts[i] + token);
        return contexts;
    }
}
