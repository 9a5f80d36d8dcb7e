namespace KernelForge.Cli;

/// <summary>Shows how much of a model is loaded, once that takes long: a line that is redrawn for a person, else a new line every ten seconds.</summary>
internal sealed class LoadProgress(Terminal terminal, bool quiet, TimeProvider? clock = null) : IProgress<double>
{
    private const double PatienceSeconds = 1, RedrawSeconds = 0.1, LineSeconds = 10;

    private readonly TimeProvider _clock = clock ?? TimeProvider.System;
    private readonly long _start = (clock ?? TimeProvider.System).GetTimestamp();
    private double _shownAt;
    private int _drawn;

    /// <summary>From 0 to 1.</summary>
    public void Report(double value)
    {
        if (quiet) return;
        double seconds = _clock.GetElapsedTime(_start).TotalSeconds;
        bool due = terminal.IsInteractive ? seconds >= PatienceSeconds && seconds - _shownAt >= RedrawSeconds : seconds - _shownAt >= LineSeconds;
        if (!due) return;

        _shownAt = seconds;
        string text = $"loading weights: {(int)(100 * value)}%";
        if (!terminal.IsInteractive) terminal.Error.WriteLine(text);
        else
        {
            terminal.Error.Write("\r" + text.PadRight(_drawn));
            _drawn = text.Length;
        }
    }

    /// <summary>Removes a drawn line, so that what follows starts on a clean one.</summary>
    public void Clear()
    {
        if (_drawn == 0) return;
        terminal.Error.Write("\r" + new string(' ', _drawn) + "\r");
        _drawn = 0;
    }
}
