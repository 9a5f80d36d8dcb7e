namespace KernelForge.Inference;

/// <summary>Workloads in which many prompts begin alike.</summary>
internal sealed class PrefixWorkloads(WorkloadOptions options)
{
    private readonly WorkloadBuilder _builder = new(options);

    /// <summary>The demo of BatchLLM (arXiv:2412.03594): 6,400 requests, 16 for each prefix of 2,000 tokens, 200 tokens of their own, 100 of output.</summary>
    public Workload BatchLlm(string name)
    {
        const int Degree = 16;
        int prefix = _builder.Length(2000), own = _builder.Length(200), output = _builder.Length(100);
        ulong document = 0;
        for (int i = 0; i < (options.Requests ?? 6400); i++)
        {
            if (i % Degree == 0) document = _builder.NewStream();
            _builder.Append(document, prefix).Append(_builder.NewStream(), own).Add("batch", output, output);
        }
        return _builder.Build(name);
    }

    /// <summary>
    /// Questions about documents, as in the snippet generation that BatchLLM's authors describe: a system prompt of 128 tokens above all, documents
    /// (mean 1,500 tokens) below it, questions (mean 400) below these. Sizes of groups are skewed: three documents in ten have one question, few have
    /// many (Pareto, exponent 1.3, at most 64), so that about 58 % of the prompt tokens can be saved, as published. Answers have 64 tokens on average, 256 at most.
    /// </summary>
    public Workload TwoLevel(string name)
    {
        int count = options.Requests ?? 6400, system = _builder.Length(128);
        ulong systemStream = _builder.NewStream();
        for (int i = 0; i < count;)
        {
            ulong document = _builder.NewStream();
            int length = _builder.Length(1500, 0.5, 5000);
            for (int left = Math.Min(GroupSize(), count - i); left > 0; left--, i++)
            {
                _builder.Append(systemStream, system).Append(document, length).Append(_builder.NewStream(), _builder.Length(400, 0.6, 2000));
                _builder.Add("question", _builder.Length(64, 0.6, 256), _builder.Length(256));
            }
        }
        return _builder.Build(name);
    }

    private int GroupSize() => (int)Math.Min(64, Math.Pow(1 - _builder.Random.Uniform(), -1 / 1.3) + 0.7);
}
