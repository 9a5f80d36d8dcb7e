using System.Text;

namespace KernelForge.Cli;

/// <summary>Where a command reads and writes.</summary>
/// <param name="Input">Standard input.</param>
/// <param name="Output">Standard output: answers and help.</param>
/// <param name="Error">Standard error: progress, summary and complaints.</param>
/// <param name="IsInteractive">Whether a person watches standard error, so that a line may be redrawn.</param>
/// <param name="Width">Columns of the screen.</param>
internal sealed record Terminal(Stream Input, Stream Output, TextWriter Error, bool IsInteractive = false, int Width = 80)
{
    public static Terminal OfProcess()
    {
        bool interactive = !Console.IsErrorRedirected;
        int width = interactive ? Math.Max(20, Console.WindowWidth) : 80;
        return new Terminal(Console.OpenStandardInput(), Console.OpenStandardOutput(), Console.Error, interactive, width);
    }

    public void WriteOutput(string text)
    {
        Output.Write(Encoding.UTF8.GetBytes(text));
        Output.Flush();
    }
}
