namespace KernelForge.Cli;

/// <summary>
/// Time of steps, divided between prefill and decode. A step's time is split by the query tokens of its rows: prompt tokens, first time or
/// again, on one side and decoding sequences on the other. The first token of an answer belongs to the prefill that ends with it.
/// </summary>
internal sealed class StepTimes
{
    public double PrefillSeconds { get; private set; }

    public double DecodeSeconds { get; private set; }

    public long PrefillTokens { get; private set; }

    public long DecodeTokens { get; private set; }

    public double PrefillTokensPerSecond => Rate(PrefillTokens, PrefillSeconds);

    public double DecodeTokensPerSecond => Rate(DecodeTokens, DecodeSeconds);

    public void Add(double seconds, long prefillTokens, long decodeTokens)
    {
        PrefillTokens += prefillTokens;
        DecodeTokens += decodeTokens;
        if (prefillTokens + decodeTokens == 0) return;

        double prefill = seconds * prefillTokens / (prefillTokens + decodeTokens);
        PrefillSeconds += prefill;
        DecodeSeconds += seconds - prefill;
    }

    private static double Rate(long tokens, double seconds) => seconds > 0 ? tokens / seconds : 0;
}
