namespace KernelForge.Cli;

/// <summary>Shows how much of a model is loaded.</summary>
internal sealed class LoadProgress(Terminal terminal, bool quiet, TimeProvider? clock = null) : IProgress<double>
{
    private readonly StatusLine _line = new(terminal, quiet, clock);

    /// <summary>From 0 to 1.</summary>
    public void Report(double value) => _line.Show($"loading weights: {(int)(100 * value)}%");

    /// <summary>Removes a drawn line, so that what follows starts on a clean one.</summary>
    public void Clear() => _line.Clear();
}
