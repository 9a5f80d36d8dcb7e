using System.Reflection;
using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary>The verbs of <c>kf</c>.</summary>
internal static class Commands
{
    private const string Usage = """
        kf runs language models on many prompts at once; prompts that begin alike share the work.

        usage: kf run --model DIR --input FILE --output FILE [options]   answer prompts
               kf info [--model DIR] [options]                           describe this machine and a model
               kf quantize --model DIR --output DIR --format w4g128      write a model with 4-bit or 8-bit weights
               kf pack --model DIR                                       write the weights in the order of the CPU: starts sooner
               kf perplexity --model DIR --input FILE                    measure how well a model predicts texts
               kf simulate --workload NAME | --trace FILE                show how policies would serve requests on a device
               kf profile --model DIR --output FILE.json                 measure what steps cost on this machine
               kf advise --device NAME --model NAME --trace FILE         recommend batch size, token budget and answer limit
               kf VERB --help                                            all options of a verb, with examples
               kf --version

        """;

    private static readonly string[] Verbs = ["run", "info", "quantize", "pack", "perplexity", "simulate", "profile", "advise"];

    /// <summary>Runs a command line and returns its exit code. Cancelling <paramref name="stop"/> ends a run after its current step.</summary>
    public static int Run(string[] arguments, Terminal terminal, CancellationToken stop = default)
    {
        try
        {
            return Dispatch(arguments, terminal, stop);
        }
        catch (OperationCanceledException)
        {
            terminal.Error.WriteLine("kf: Interrupted before any work was done.");
            return ExitCodes.Interrupted;
        }
        catch (Exception error) when (error is CommandException or ModelFormatException or CudaUnavailableException or CudaException or IOException or UnauthorizedAccessException
            or InvalidDataException or NotSupportedException or OutOfMemoryException)
        {
            terminal.Error.WriteLine("kf: " + OneLine(error.Message));
            return ExitCodes.Failed;
        }
    }

    private static int Dispatch(string[] arguments, Terminal terminal, CancellationToken stop)
    {
        string verb = arguments.Length == 0 ? "--help" : arguments[0];
        string[] rest = arguments.Length == 0 ? [] : arguments[1..];
        bool wantsHelp = rest.Any(argument => argument is "--help" or "-h");
        switch (verb)
        {
            case "--help" or "-h" or "help":
                terminal.WriteOutput(Usage + Environment.NewLine + ExitCodes.Help + Environment.NewLine);
                return ExitCodes.Answered;
            case "--version":
                terminal.WriteOutput($"kf {VersionText}{Environment.NewLine}");
                return ExitCodes.Answered;
            case "run" when wantsHelp: return Explain(RunCommand.WriteHelp, terminal);
            case "info" when wantsHelp: return Explain(InfoCommand.WriteHelp, terminal);
            case "quantize" when wantsHelp: return Explain(QuantizeCommand.WriteHelp, terminal);
            case "pack" when wantsHelp: return Explain(PackCommand.WriteHelp, terminal);
            case "perplexity" when wantsHelp: return Explain(PerplexityCommand.WriteHelp, terminal);
            case "simulate" when wantsHelp: return Explain(SimulateCommand.WriteHelp, terminal);
            case "profile" when wantsHelp: return Explain(ProfileCommand.WriteHelp, terminal);
            case "advise" when wantsHelp: return Explain(AdviseCommand.WriteHelp, terminal);
            case "run": return RunCommand.Run(RunOptions.Parse(rest), terminal, stop);
            case "info": return InfoCommand.Run(InfoCommand.Table.Parse(rest), terminal);
            case "quantize": return QuantizeCommand.Run(rest, terminal, stop);
            case "pack": return PackCommand.Run(rest, terminal, stop);
            case "perplexity": return PerplexityCommand.Run(rest, terminal, stop);
            case "simulate": return SimulateCommand.Run(rest, terminal, stop);
            case "profile": return ProfileCommand.Run(rest, terminal, stop);
            case "advise": return AdviseCommand.Run(rest, terminal);
            default: throw new CommandException($"Unknown command '{verb}'{Nearest.Suggestion(verb, Verbs)}. See kf --help.");
        }
    }

    private static string VersionText =>
        typeof(Commands).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0] ?? "unknown";

    private static int Explain(Action<TextWriter> writeHelp, Terminal terminal)
    {
        using var text = new StringWriter();
        writeHelp(text);
        terminal.WriteOutput(text.ToString());
        return ExitCodes.Answered;
    }

    private static string OneLine(string message) =>
        string.Join(' ', message.Split(['\r', '\n'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries));
}
