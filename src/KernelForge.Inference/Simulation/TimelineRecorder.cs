namespace KernelForge.Inference;

/// <summary>
/// Samples of a simulation as long as it happens to be: when there is no room for another one, each takes in its neighbour and stands for twice the time.
/// </summary>
internal sealed class TimelineRecorder(int capacity)
{
    private const double FirstSeconds = 1e-4;

    private readonly Bin[] _bins = new Bin[capacity];
    private double _width = FirstSeconds;
    private int _count;

    private record struct Bin(double Steps, double Prompt, double Decode, double Draft, double Blocks, double Running, double Waiting)
    {
        public static Bin operator +(in Bin a, in Bin b) => new(
            a.Steps + b.Steps, a.Prompt + b.Prompt, a.Decode + b.Decode, a.Draft + b.Draft, a.Blocks + b.Blocks, a.Running + b.Running, a.Waiting + b.Waiting);

        public static Bin operator *(in Bin a, double b) => new(a.Steps * b, a.Prompt * b, a.Decode * b, a.Draft * b, a.Blocks * b, a.Running * b, a.Waiting * b);
    }

    /// <summary>Books a step; its tokens are spread evenly over its time, in seconds.</summary>
    public void Add(double start, double seconds, in StepShape shape, int draftTokens, in SchedulerCounters counters)
    {
        if (seconds <= 0) return;
        double end = start + seconds;
        while (end > capacity * _width) Halve();

        int decodes = shape.Tokens - shape.PromptTokens - draftTokens;
        var step = new Bin(1, shape.PromptTokens, decodes, draftTokens, counters.BlocksInUse * seconds, counters.Running * seconds, counters.Waiting * seconds);
        int first = (int)(start / _width), last = Math.Min(capacity - 1, (int)(end / _width));
        for (int i = first; i <= last; i++)
        {
            double inside = Math.Min(end, (i + 1) * _width) - Math.Max(start, i * _width);
            _bins[i] += step * (Math.Max(0, inside) / seconds);
        }
        _count = last + 1;
    }

    public TimelineSample[] Samples()
    {
        var samples = new TimelineSample[_count];
        for (int i = 0; i < _count; i++)
        {
            Bin bin = _bins[i];
            double steps = bin.Steps > 0 ? bin.Steps : 1;
            samples[i] = new TimelineSample(TimeSpan.FromSeconds(i * _width), TimeSpan.FromSeconds(_width))
            {
                Steps = bin.Steps, PromptTokens = bin.Prompt / steps, DecodeTokens = bin.Decode / steps, DraftTokens = bin.Draft / steps,
                BlocksInUse = bin.Blocks / _width, Running = bin.Running / _width, Waiting = bin.Waiting / _width,
            };
        }
        return samples;
    }

    private void Halve()
    {
        for (int i = 0; 2 * i < capacity; i++)
            _bins[i] = _bins[2 * i] + (2 * i + 1 < capacity ? _bins[2 * i + 1] : default);
        Array.Clear(_bins, (capacity + 1) / 2, capacity / 2);
        _width *= 2;
    }
}
