namespace KernelForge.Inference;

/// <summary>How many tokens the sequences of a job are expected to generate: what a sample says, what the caller says, or the limit (BlendServe).</summary>
internal static class OutputEstimate
{
    /// <summary>Expected output tokens of each sequence, at most the limit of its request.</summary>
    /// <param name="tree">The job.</param>
    /// <param name="requests">Its requests.</param>
    /// <param name="sampled">Output tokens of the requests that were run already; null entries, or null, where there are none.</param>
    public static double[] Of(PromptTree tree, IReadOnlyList<Request> requests, IReadOnlyList<int?>? sampled)
    {
        int[] requestOf = RequestsOf(requests, tree.SequenceCount);
        double[] means = sampled is null ? [] : MeansByNode(tree, requestOf, sampled);
        var outputs = new double[tree.SequenceCount];
        for (int i = 0; i < outputs.Length; i++)
        {
            Request request = requests[requestOf[i]];
            double limit = request.Sampling.MaxTokens;
            double expected = sampled?[requestOf[i]] ?? request.ExpectedTokens ?? (sampled is null ? limit : means[tree.NodeOf(i)]);
            outputs[i] = double.IsNaN(expected) ? limit : Math.Clamp(expected, 1, limit);
        }
        return outputs;
    }

    /// <summary>The mean of the samples below each node; where there are none that of its parent, and so of its siblings.</summary>
    private static double[] MeansByNode(PromptTree tree, int[] requestOf, IReadOnlyList<int?> sampled)
    {
        double[] sums = new double[tree.NodeCount], counts = new double[tree.NodeCount];
        for (int i = 0; i < requestOf.Length; i++)
        {
            if (sampled[requestOf[i]] is not { } tokens) continue;
            sums[tree.NodeOf(i)] += tokens;
            counts[tree.NodeOf(i)]++;
        }
        for (int node = tree.NodeCount - 1; node > PromptTree.Root; node--)
        {
            sums[tree.Parent(node)] += sums[node];
            counts[tree.Parent(node)] += counts[node];
        }

        for (int node = 0; node < sums.Length; node++)
            sums[node] = counts[node] > 0 || node == PromptTree.Root ? sums[node] / counts[node] : sums[tree.Parent(node)];
        return sums;
    }

    private static int[] RequestsOf(IReadOnlyList<Request> requests, int sequences)
    {
        var requestOf = new int[sequences];
        for (int request = 0, i = 0; request < requests.Count; request++)
            for (int sample = 0; sample < requests[request].Sampling.N; sample++) requestOf[i++] = request;
        return requestOf;
    }
}
