namespace KernelForge.Cli;

/// <summary>The files of a run, checked before any work is done. The output is opened only by <see cref="StartOutput"/>.</summary>
internal sealed class RunFiles : IDisposable
{
    private readonly RunOptions _options;
    private readonly Terminal _terminal;
    private Stream? _output;

    private RunFiles(RunOptions options, Terminal terminal, Stream input) => (_options, _terminal, Input) = (options, terminal, input);

    public Stream Input { get; }

    public string OutputName => _options.Output == RunOptions.Standard ? "standard output" : _options.Output;

    /// <summary>What the output has already; nothing without --resume.</summary>
    public ResumePoint Before { get; private set; } = ResumePoint.Start;

    public ExpectedAnswers? Expected { get; private set; }

    /// <summary>
    /// Throws <see cref="CommandException"/> when a file is missing, or the output exists and neither --resume nor --overwrite says what to do.
    /// </summary>
    public static RunFiles Open(RunOptions options, Terminal terminal)
    {
        if (!Directory.Exists(options.Model)) throw new CommandException($"The model folder {options.Model} does not exist.");
        DraftOptions.RequireFolder(options.Engine.Speculation);
        RequireFolderOf(options.Output, "--output");
        RequireFolderOf(options.Summary, "--summary");
        bool exists = options.Output != RunOptions.Standard && File.Exists(options.Output);
        if (exists && !options.Resume && !options.Overwrite)
            throw new CommandException($"The output {options.Output} exists; --resume goes on from it, --overwrite replaces it.");

        var files = new RunFiles(options, terminal, options.Input == RunOptions.Standard ? terminal.Input : OpenRead(options.Input, "--input"));
        try
        {
            if (options.Score is { } score)
            {
                using Stream expected = OpenRead(score, "--score");
                files.Expected = ExpectedAnswers.Read(expected, score);
            }
            if (exists && options.Resume)
            {
                using Stream output = OpenRead(options.Output, "--output");
                files.Before = ResumePoint.Read(output, options.Output);
            }
            return files;
        }
        catch
        {
            files.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Opens the output after the answers it keeps; what follows them is cut off. Throws <see cref="CommandException"/> when the summary
    /// cannot be written, which nobody wants to hear after the run.
    /// </summary>
    public Stream StartOutput()
    {
        if (_options.Summary is { } summary) RequireWritable(summary);
        if (_options.Output == RunOptions.Standard) return _terminal.Output;
        FileMode mode = _options.Resume ? FileMode.OpenOrCreate : FileMode.Create;
        var output = new FileStream(_options.Output, mode, FileAccess.Write, FileShare.Read, bufferSize: 0);
        _output = output;
        if (_options.Resume)
        {
            output.SetLength(Before.Length);
            output.Seek(0, SeekOrigin.End);
        }
        return output;
    }

    public void Dispose()
    {
        _output?.Dispose();
        if (_options.Input != RunOptions.Standard) Input.Dispose();
    }

    /// <summary>Opens a file that an option names. Throws <see cref="CommandException"/> when there is none.</summary>
    public static FileStream OpenRead(string path, string option)
    {
        if (Directory.Exists(path)) throw new CommandException($"{option} {path} is a folder, not a file.");
        if (!File.Exists(path)) throw new CommandException($"{option} {path} does not exist.");
        return new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
    }

    private static void RequireWritable(string path)
    {
        try
        {
            using var file = new FileStream(path, FileMode.OpenOrCreate, FileAccess.Write);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new CommandException($"--summary {path} cannot be written: {error.Message.TrimEnd('.')}.");
        }
    }

    private static void RequireFolderOf(string? path, string option)
    {
        if (path is null or RunOptions.Standard) return;
        if (path.Length == 0) throw new CommandException($"{option} needs the name of a file.");
        if (Directory.Exists(path)) throw new CommandException($"{option} {path} is a folder, not a file.");
        if (Path.GetDirectoryName(Path.GetFullPath(path)) is { } folder && !Directory.Exists(folder))
            throw new CommandException($"{option} {path} cannot be written: the folder {folder} does not exist.");
    }
}
