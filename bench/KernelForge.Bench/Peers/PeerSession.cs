using System.Diagnostics;
using System.Globalization;
using KernelForge.Inference;

namespace KernelForge.Bench;

/// <summary>
/// Times an engine, one measurement for each line on standard input and one JSON line for its answer, as <c>bench/peers/llama_session.c</c> does for llama.cpp.
/// <c>prompt TOKENS</c>: a prompt that nothing is known of, until its next token. <c>decode PREFIX BATCH STEPS</c>: steps of sequences behind one prefix,
/// which is computed once. Times are seconds of whole steps of <see cref="Engine"/>, its scheduling and its text included.
/// </summary>
internal sealed class PeerSession : IDisposable
{
    private const int TokensBefore = 16; // of a sequence, at most, before all have read their prompts

    private readonly Device _device;
    private readonly Engine _engine;
    private int _prefix = -1, _prompts;

    private PeerSession(PeerOptions options)
    {
        _device = Device.OpenCpu(new CpuDeviceOptions { Threads = options.Threads });
        _engine = Engine.Load(options.Model, options.Engine, _device);
    }

    /// <summary>Answers lines until there are no more. Returns the exit code.</summary>
    public static int Run(ReadOnlySpan<string> arguments, TextReader input, TextWriter output)
    {
        var options = PeerOptions.Parse(arguments);
        long start = Stopwatch.GetTimestamp();
        using var session = new PeerSession(options);
        output.WriteLine(Text($$"""{"load":{{Seconds(start):F3}}}"""));
        while (input.ReadLine() is { } line) output.WriteLine(session.Answer(line));
        return 0;
    }

    public void Dispose()
    {
        _engine.Dispose();
        _device.Dispose();
    }

    private string Answer(string line)
    {
        int[] numbers = [.. line.Split(' ').Skip(1).Select(word => int.Parse(word, CultureInfo.InvariantCulture))];
        return (line.Split(' ')[0], numbers.Length) switch
        {
            ("prompt", 1) => Prompt(numbers[0]),
            ("decode", 3) => Decode(numbers[0], numbers[1], numbers[2]),
            _ => throw new ArgumentException($"Expected prompt TOKENS or decode PREFIX BATCH STEPS, not {line}."),
        };
    }

    private string Prompt(int tokens)
    {
        _engine.ClearCache();
        _prefix = -1;
        int[] prompt = [.. Enumerable.Range(0, tokens).Select(i => PlantedChain.Word(i * 131 + _prompts * 17))];
        _prompts++;
        _engine.Add(Request(prompt, maxTokens: 1));
        int wrong = 0;
        long start = Stopwatch.GetTimestamp();
        while (_engine.HasWork)
            foreach (TokenEvent gained in _engine.Step()) wrong += gained.TokenIds.Count(token => token != PlantedChain.After(prompt[^1]));
        return Text($$"""{"prompt":{{tokens}},"seconds":{{Seconds(start):F6}},"wrong":{{wrong}}}""");
    }

    private string Decode(int prefix, int batch, int steps)
    {
        if (prefix != _prefix) _engine.ClearCache();
        _prefix = prefix; // stays in the prefix cache until another one is asked for
        int[] shared = [.. Enumerable.Range(0, prefix).Select(i => PlantedChain.Word(i * 131))];
        var last = new Dictionary<long, int>();
        List<Sequence> sequences = [];
        for (int s = 0; s < batch; s++)
        {
            int own = PlantedChain.Word(s * 977 + 5);
            sequences.AddRange(_engine.Add(Request([.. shared, own], steps + TokensBefore)));
            last.Add(sequences[^1].Id, own);
        }

        int wrong = 0;
        while (sequences.Any(sequence => sequence.OutputLength < 2)) wrong += Step(last); // all have read their prompts, and one step is to warm up
        double[] seconds = new double[steps];
        for (int step = 0; step < steps; step++)
        {
            long start = Stopwatch.GetTimestamp();
            wrong += Step(last);
            seconds[step] = Seconds(start);
        }
        if (sequences.Any(sequence => sequence.OutputLength < steps + 2))
            throw new InvalidOperationException($"Not all of {batch} sequences gained a token in each of {steps} steps.");
        foreach (Sequence sequence in sequences) _engine.Cancel(sequence);
        Array.Sort(seconds);
        double median = seconds[steps / 2], least = seconds[0];
        return Text($$"""{"prefix":{{prefix}},"batch":{{batch}},"steps":{{steps}},"step":{{median:F6}},"least":{{least:F6}},"wrong":{{wrong}}}""");
    }

    /// <summary>Returns how many tokens are not those of the chain.</summary>
    private int Step(Dictionary<long, int> last)
    {
        int wrong = 0;
        foreach (TokenEvent gained in _engine.Step())
            foreach (int token in gained.TokenIds)
            {
                if (token != PlantedChain.After(last[gained.SequenceId])) wrong++;
                last[gained.SequenceId] = token;
            }
        return wrong;
    }

    private static Request Request(int[] prompt, int maxTokens) => new(prompt, new SamplingOptions { MaxTokens = maxTokens, IgnoreEndToken = true });

    private static double Seconds(long start) => Stopwatch.GetElapsedTime(start).TotalSeconds;

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
