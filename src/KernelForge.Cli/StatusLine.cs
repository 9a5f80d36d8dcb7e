namespace KernelForge.Cli;

/// <summary>Says what a command is at, once that takes long: a line that is redrawn for a person, else a new line every ten seconds.</summary>
internal sealed class StatusLine(Terminal terminal, bool quiet, TimeProvider? clock = null)
{
    private const double PatienceSeconds = 1, RedrawSeconds = 0.1, LineSeconds = 10;

    private readonly TimeProvider _clock = clock ?? TimeProvider.System;
    private readonly long _start = (clock ?? TimeProvider.System).GetTimestamp();
    private double _shownAt;
    private int _drawn;

    public void Show(string text)
    {
        if (quiet) return;
        double seconds = _clock.GetElapsedTime(_start).TotalSeconds;
        bool due = terminal.IsInteractive ? seconds >= PatienceSeconds && seconds - _shownAt >= RedrawSeconds : seconds - _shownAt >= LineSeconds;
        if (!due) return;

        _shownAt = seconds;
        if (!terminal.IsInteractive) terminal.Error.WriteLine(text);
        else
        {
            if (text.Length >= terminal.Width) text = text[..(terminal.Width - 1)];
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
