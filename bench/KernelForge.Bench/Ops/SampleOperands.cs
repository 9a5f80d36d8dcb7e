namespace KernelForge.Bench;

/// <summary>How the tokens of a step are drawn.</summary>
public enum Draw
{
    Greedy,
    Plain,
    TopK50,
    TopP95,
}

/// <summary>Rows of 151,936 logits, about normal, with some twenty likely tokens each, and how to draw from them.</summary>
internal sealed class SampleOperands
{
    public const int Vocabulary = 151_936;
    public const float Temperature = 0.8f;

    private readonly Draw _draw;
    private readonly DeviceSpan<SamplingRow> _rows;

    public SampleOperands(Operands operands, int rows, Draw draw)
    {
        var random = new Random(4);
        float Next() => random.Next(Vocabulary) < 20
            ? 10 + 5 * random.NextSingle()
            : 2 * (random.NextSingle() + random.NextSingle() + random.NextSingle() + random.NextSingle() - 2);
        Logits = operands.Matrix(DType.F32, rows, Vocabulary, Next);
        (int topK, float topP) = (draw == Draw.TopK50 ? 50 : 0, draw == Draw.TopP95 ? 0.95f : 1);
        _draw = draw;
        _rows = operands.Span([.. Enumerable.Range(0, rows).Select(row => new SamplingRow((ulong)row, 100, Temperature, topK, topP, 0))]);
        Tokens = operands.Span(new int[rows]);
    }

    public DeviceMatrix Logits { get; }

    public DeviceSpan<int> Tokens { get; }

    public void Sample(Operators operators)
    {
        if (_draw == Draw.Greedy) operators.ArgMax(Logits, Tokens);
        else operators.Sample(Logits, _rows, Tokens);
    }
}
