namespace KernelForge.Cli;

/// <summary>What the process returns.</summary>
internal static class ExitCodes
{
    public const int Answered = 0;
    public const int Failed = 1;
    public const int SomeLinesFailed = 2;
    public const int Interrupted = 130;

    public const string Help = """
        Exit codes:
          0    every line is answered
          1    nothing could be done, or the run had to stop; one sentence says why
          2    finished, and some lines have errors
          130  interrupted; --resume goes on
        """;
}
