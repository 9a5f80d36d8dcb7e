using KernelForge.Cli;

namespace KernelForge.Tests;

public sealed class ProgressTests : IDisposable
{
    private readonly StringWriter _error = new();
    private readonly ManualClock _clock = new();

    public void Dispose() => _error.Dispose();

    private Progress Start(bool interactive, int width = 200, bool quiet = false) =>
        new(new Terminal(Stream.Null, Stream.Null, _error, interactive, width), 200, quiet, _clock);

    [Fact]
    public void Show_NotInteractive_WritesALineEveryTenPerCentOrTenSeconds()
    {
        Progress progress = Start(interactive: false);

        progress.Show(new ProgressState(1, 10, 3, 0.5)); // nothing yet
        _clock.Seconds = 2;
        progress.Show(new ProgressState(20, 100, 3, 0.5)); // 10 %
        progress.Show(new ProgressState(21, 100, 3, 0.5)); // still the same ten
        _clock.Seconds = 12;
        progress.Show(new ProgressState(21, 600, 4, 1)); // ten seconds later

        Assert.Equal(
            [" 10%  20/200 lines  50 tokens/s  3 running  KV 50%", " 10%  21/200 lines  50 tokens/s  4 running  KV 100%", ""],
            _error.ToString().Split(Environment.NewLine));
    }

    [Fact]
    public void Show_Interactive_RedrawsOneLineThatFits()
    {
        Progress progress = Start(interactive: true, width: 40);

        _clock.Seconds = 1;
        progress.Show(new ProgressState(100, 10, 3, 0.5));
        _clock.Seconds = 1.05;
        progress.Show(new ProgressState(101, 10, 3, 0.5)); // too soon
        progress.Clear();

        string[] draws = _error.ToString().Split('\r');
        Assert.Equal(["", "[##########..........]  50%  100/200 li", new string(' ', 39), ""], draws);
    }

    [Fact]
    public void Load_Interactive_IsSilentForASecondThenRedrawsOneLine()
    {
        var progress = new LoadProgress(new Terminal(Stream.Null, Stream.Null, _error, IsInteractive: true), quiet: false, _clock);

        _clock.Seconds = 0.9;
        progress.Report(0.3);
        _clock.Seconds = 1;
        progress.Report(0.4);
        _clock.Seconds = 1.05;
        progress.Report(0.45); // too soon
        progress.Clear();

        Assert.Equal(["", "loading weights: 40%", new string(' ', 20), ""], _error.ToString().Split('\r'));
    }

    [Fact]
    public void Load_NotInteractive_WritesALineEveryTenSeconds()
    {
        var progress = new LoadProgress(new Terminal(Stream.Null, Stream.Null, _error), quiet: false, _clock);

        foreach (int seconds in (int[])[5, 10, 15, 20])
        {
            _clock.Seconds = seconds;
            progress.Report(seconds / 25.0);
        }
        progress.Clear();

        Assert.Equal(["loading weights: 40%", "loading weights: 80%", ""], _error.ToString().Split(Environment.NewLine));
    }

    [Fact]
    public void Show_Quiet_SaysNothing()
    {
        Progress progress = Start(interactive: true, quiet: true);
        _clock.Seconds = 100;

        progress.Show(new ProgressState(200, 1, 1, 1));
        progress.Clear();

        Assert.Equal("", _error.ToString());
    }

    [Fact]
    public void StepTimes_MixedStep_IsSplitByTokens()
    {
        var times = new StepTimes();

        times.Add(3, prefillTokens: 90, decodeTokens: 0);
        times.Add(2, prefillTokens: 30, decodeTokens: 10); // 1.5 s and 0.5 s
        times.Add(1, prefillTokens: 0, decodeTokens: 5);
        times.Add(1, prefillTokens: 0, decodeTokens: 0); // nobody's

        Assert.Equal((4.5, 1.5), (times.PrefillSeconds, times.DecodeSeconds));
        Assert.Equal(120 / 4.5, times.PrefillTokensPerSecond, 1e-9);
        Assert.Equal(10, times.DecodeTokensPerSecond, 1e-9);
        Assert.Equal(0, new StepTimes().DecodeTokensPerSecond);
    }

    private sealed class ManualClock : TimeProvider
    {
        public double Seconds { get; set; }

        public override long TimestampFrequency => 1000;

        public override long GetTimestamp() => (long)(Seconds * 1000);
    }
}
