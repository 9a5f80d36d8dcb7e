namespace KernelForge.Cli;

/// <summary>One option of a command.</summary>
/// <param name="Name">With its dashes.</param>
/// <param name="Value">Name of its value for the help; null for a switch.</param>
/// <param name="Help">One line.</param>
/// <param name="Default">What applies without it, for the help.</param>
internal sealed record Option(string Name, string? Value, string Help, string? Default = null);

/// <summary>Options that the help shows together.</summary>
internal sealed record OptionGroup(string Title, params Option[] Options);

/// <summary>The options of a command: parses arguments, and explains itself.</summary>
internal sealed class OptionTable(params OptionGroup[] groups)
{
    private const int HelpColumn = 24;

    private readonly Dictionary<string, Option> _options = groups.SelectMany(group => group.Options).ToDictionary(option => option.Name);

    /// <summary>Reads "--name value" and "--name=value". Throws <see cref="CommandException"/> for what is not in the table.</summary>
    public ParsedOptions Parse(ReadOnlySpan<string> arguments)
    {
        var values = new Dictionary<string, List<string>>();
        for (int i = 0; i < arguments.Length; i++)
        {
            string name = arguments[i];
            string? value = null;
            if (name.StartsWith("--", StringComparison.Ordinal) && name.IndexOf('=', StringComparison.Ordinal) is > 0 and int at)
                (name, value) = (name[..at], name[(at + 1)..]);

            Option option = Find(name);
            if (option.Value is null)
            {
                if (value is not null) throw new CommandException($"{name} takes no value, got '{value}'.");
                value = "";
            }
            else if (value is null)
            {
                if (i + 1 == arguments.Length || arguments[i + 1].StartsWith("--", StringComparison.Ordinal))
                    throw new CommandException($"{name} needs a value: {name} {option.Value}.");
                value = arguments[++i];
            }

            if (!values.TryGetValue(name, out List<string>? list)) values[name] = list = [];
            list.Add(value);
        }
        return new ParsedOptions(values);
    }

    public void WriteHelp(TextWriter writer)
    {
        foreach (OptionGroup group in groups)
        {
            writer.WriteLine($"{group.Title}:");
            foreach (Option option in group.Options) WriteHelp(writer, option);
            writer.WriteLine();
        }
    }

    private static void WriteHelp(TextWriter writer, Option option)
    {
        string left = option.Value is null ? $"  {option.Name}" : $"  {option.Name} {option.Value}";
        string right = option.Default is null ? option.Help : $"{option.Help} [{option.Default}]";
        if (left.Length < HelpColumn)
        {
            writer.WriteLine(left.PadRight(HelpColumn) + right);
            return;
        }
        writer.WriteLine(left);
        writer.WriteLine(new string(' ', HelpColumn) + right);
    }

    private Option Find(string name)
    {
        if (_options.TryGetValue(name, out Option? option)) return option;
        if (!name.StartsWith('-')) throw new CommandException($"Unexpected argument '{name}': options start with --.");
        throw new CommandException($"Unknown option {name}{Nearest.Suggestion(name, _options.Keys)}.");
    }
}
