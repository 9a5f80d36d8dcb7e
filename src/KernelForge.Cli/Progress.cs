using System.Globalization;

namespace KernelForge.Cli;

/// <summary>What a run holds at a moment.</summary>
/// <param name="Done">Lines answered.</param>
/// <param name="Tokens">Prompt tokens computed and tokens generated.</param>
/// <param name="Running">Sequences that grow.</param>
/// <param name="KvUse">Share of the KV blocks in use, from 0 to 1.</param>
internal readonly record struct ProgressState(int Done, long Tokens, int Running, double KvUse);

/// <summary>
/// Shows how far a run is: one line that is redrawn for a person, else a new line for every ten per cent or ten seconds. Says nothing when
/// quiet.
/// </summary>
internal sealed class Progress(Terminal terminal, int total, bool quiet, TimeProvider? clock = null)
{
    private const double RedrawSeconds = 0.1, LineSeconds = 10;
    private const int BarWidth = 20;

    private readonly TimeProvider _clock = clock ?? TimeProvider.System;
    private readonly long _start = (clock ?? TimeProvider.System).GetTimestamp();
    private double _shownAt;
    private int _shownTenth;
    private int _drawn;

    public void Show(in ProgressState state)
    {
        if (quiet || total == 0) return;

        double seconds = _clock.GetElapsedTime(_start).TotalSeconds;
        int tenth = (int)(10L * state.Done / total);
        bool due = terminal.IsInteractive
            ? seconds - _shownAt >= RedrawSeconds || state.Done == total
            : seconds - _shownAt >= LineSeconds || tenth > _shownTenth;
        if (!due) return;

        (_shownAt, _shownTenth) = (seconds, tenth);
        string text = Describe(state, seconds);
        if (terminal.IsInteractive) Redraw(text);
        else terminal.Error.WriteLine(text);
    }

    /// <summary>Removes a drawn line, so that what follows starts on a clean one.</summary>
    public void Clear()
    {
        if (_drawn == 0) return;
        terminal.Error.Write("\r" + new string(' ', _drawn) + "\r");
        _drawn = 0;
    }

    private string Describe(in ProgressState state, double seconds)
    {
        int percent = (int)(100L * state.Done / total);
        double rate = seconds > 0 ? state.Tokens / seconds : 0;
        string facts = string.Create(CultureInfo.InvariantCulture,
            $"{percent,3}%  {state.Done}/{total} lines  {rate:0} tokens/s  {state.Running} running  KV {100 * state.KvUse:0}%");
        if (!terminal.IsInteractive) return facts;
        int filled = BarWidth * percent / 100;
        return $"[{new string('#', filled)}{new string('.', BarWidth - filled)}] {facts}";
    }

    private void Redraw(string text)
    {
        if (text.Length >= terminal.Width) text = text[..(terminal.Width - 1)];
        terminal.Error.Write("\r" + text.PadRight(_drawn));
        _drawn = text.Length;
    }
}
