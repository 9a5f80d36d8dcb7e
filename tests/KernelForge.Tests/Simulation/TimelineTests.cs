using System.Xml.Linq;
using KernelForge.Inference;

namespace KernelForge.Tests;

public class TimelineTests
{
    [Theory]
    [InlineData(7)]
    [InlineData(8)]
    public void Recorder_ManySteps_KeepsTotalsInFewSamples(int capacity)
    {
        var recorder = new TimelineRecorder(capacity);
        var random = new Random(5);
        double now = 0, prompt = 0, blocks = 0, decode = 0;
        var counters = new SchedulerCounters { BlocksInUse = 40, Running = 3, Waiting = 2 };
        for (int i = 0; i < 1000; i++)
        {
            double seconds = Math.Pow(10, -4 + 3 * random.NextDouble());
            var shape = new StepShape { Tokens = random.Next(20, 50), PromptTokens = random.Next(10) };
            recorder.Add(now, seconds, shape, draftTokens: 4, counters);
            now += seconds * (1 + random.Next(2)); // idle now and then
            prompt += shape.PromptTokens;
            decode += shape.Tokens - shape.PromptTokens - 4;
            blocks += 40 * seconds;
        }

        TimelineSample[] samples = recorder.Samples();

        Assert.InRange(samples.Length, 2, capacity);
        Assert.Equal(1000, samples.Sum(sample => sample.Steps), 1e-6);
        Assert.Equal(prompt, samples.Sum(sample => sample.PromptTokens * sample.Steps), 1e-6);
        Assert.Equal(decode, samples.Sum(sample => sample.DecodeTokens * sample.Steps), 1e-6);
        Assert.Equal(blocks, samples.Sum(sample => sample.BlocksInUse * sample.Length.TotalSeconds), 1e-3);
        Assert.All(samples, sample => Assert.InRange(sample.BlocksInUse, 0, 40 + 1e-3));
        for (int i = 1; i < samples.Length; i++) Assert.Equal(samples[i - 1].Start + samples[i - 1].Length, samples[i].Start);
    }

    [Fact]
    public void WriteSvg_AnyNames_IsXmlOfBoundedSize()
    {
        SimulationOptions options = Simulated.Options() with { TimelineSamples = 50, DraftLength = 2, DraftAcceptance = 0.5 };
        SimulationReport report = Simulator.Run(Simulated.Named("sharegpt", 200), options) with { Policy = "<a & \"b\">" };
        using var text = new StringWriter();

        Timeline.WriteSvg(text, [report, report]);

        XElement svg = XDocument.Parse(text.ToString()).Root!;
        Assert.Equal("svg", svg.Name.LocalName);
        Assert.Contains(svg.Elements(), element => element.Value.StartsWith("<a & \"b\">: sharegpt", StringComparison.Ordinal));
        string[] paths = [.. svg.Elements().Where(element => element.Name.LocalName == "path").Select(element => element.Attribute("d")!.Value)];
        Assert.Equal(2 * 9, paths.Length); // three frames, three kinds of tokens, blocks, running, waiting
        Assert.All(paths, path => Assert.InRange(path.Count(char.IsLetter), 3, 2 * 50 + 3));
        Assert.DoesNotContain(paths, path => path.Contains("NaN", StringComparison.Ordinal));
    }

    [Fact]
    public void Distribution_RandomValues_EqualsSorting()
    {
        var random = new Random(7);
        foreach (int count in (int[])[1, 2, 3, 10, 99, 1000])
        {
            var distribution = new Distribution();
            double[] values = [.. Enumerable.Range(0, count).Select(_ => (double)random.Next(20))];
            foreach (double value in values) distribution.Add(value);

            LatencySummary summary = distribution.Summarize();

            Array.Sort(values);
            Assert.Equal(count, summary.Count);
            Assert.Equal(values[(int)Math.Ceiling(0.5 * count) - 1], summary.P50.TotalSeconds);
            Assert.Equal(values[(int)Math.Ceiling(0.9 * count) - 1], summary.P90.TotalSeconds);
            Assert.Equal(values[(int)Math.Ceiling(0.99 * count) - 1], summary.P99.TotalSeconds);
            Assert.Equal(values[^1], summary.Max.TotalSeconds);
            Assert.Equal(values.Average(), summary.Mean.TotalSeconds, 1e-6);
        }
        Assert.Equal(default, new Distribution().Summarize());
    }
}
