using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary><c>--policy NAME</c>: how answers are scheduled.</summary>
internal static class PolicyOption
{
    private const string Name = "--policy";
    private const int HelpColumn = 24, HelpWidth = 120;

    public static Option Option { get; } = new(Name, "NAME", "how answers are scheduled: a name listed below", "as they come");

    /// <summary>Null where none is named.</summary>
    public static ServingPolicy? Of(ParsedOptions parsed) => parsed.Text(Name) is { } name ? Named(name) : null;

    /// <summary>The policy of that name. Throws <see cref="CommandException"/> that lists the names when there is none.</summary>
    public static ServingPolicy Named(string name)
    {
        if (ServingPolicy.Names.Contains(name)) return ServingPolicy.Named(name);
        string known = string.Join(", ", ServingPolicy.Names), nearest = Nearest.Suggestion(name, ServingPolicy.Names);
        throw new CommandException($"{Name} must be one of {known}, not '{name}'{nearest}.");
    }

    public static void WriteHelp(TextWriter writer)
    {
        writer.WriteLine("Policies; they change no token of any answer either:");
        foreach (string name in ServingPolicy.Names)
        {
            string left = $"  {name}".PadRight(HelpColumn);
            foreach (string line in Wrap(ServingPolicy.Named(name).Description))
            {
                writer.WriteLine(left + line);
                left = new string(' ', HelpColumn);
            }
        }
        writer.WriteLine();
    }

    private static IEnumerable<string> Wrap(string text)
    {
        int start = 0;
        while (text.Length - start > HelpWidth - HelpColumn)
        {
            int end = text.LastIndexOf(' ', start + HelpWidth - HelpColumn);
            yield return text[start..end];
            start = end + 1;
        }
        yield return text[start..];
    }
}
