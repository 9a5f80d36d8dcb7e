using System.Text;
using System.Text.Json;

namespace KernelForge.Inference;

/// <summary>Turns a conversation into the prompt text that a model was trained on. Immutable, safe to share between threads.</summary>
/// <remarks>
/// Renders the Jinja templates of model folders by interpreting a subset. Tags: <c>{{ }}</c>, <c>{# #}</c>, if / elif / else,
/// for (unpacking, an if that selects, else, <c>loop</c>), break, continue, set (of names, of namespace members, of blocks), macro,
/// generation; white space control with <c>-</c> and <c>+</c>, and trim_blocks and lstrip_blocks as Hugging Face sets them.
/// Expressions: literals, lists, mappings, <c>a if c else b</c>, or, and, not, comparisons, in, <c>is</c> tests, arithmetic, <c>~</c>,
/// members, subscripts, slices, calls and filters. Not supported are include, import, extends, block, call, filter blocks, with and raw.
/// What is not supported throws a <see cref="ChatTemplateException"/> that names it and lists what is.
/// The text contains special tokens written out: encode it with <c>addSpecialTokens: false</c>.
/// </remarks>
public sealed class ChatTemplate
{
    internal const string Functions = "namespace, raise_exception, range, strftime_now";

    private const string TemplateFile = "chat_template.jinja";
    private const string ConfigFile = "tokenizer_config.json";
    private static readonly string[] SpecialTokenNames = ["bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"];

    private readonly TemplateStatement? body;
    private readonly Dictionary<string, object?> constants;
    private readonly TimeProvider clock;

    /// <summary>Parses a template.</summary>
    /// <param name="source">Its Jinja text.</param>
    /// <param name="specialTokens">Variables of every rendering, such as <c>bos_token</c> and its text.</param>
    /// <param name="clock">What <c>strftime_now</c> reads; the system's clock when null.</param>
    /// <exception cref="ChatTemplateException">The template uses what is not supported.</exception>
    public ChatTemplate(string source, IReadOnlyDictionary<string, string>? specialTokens = null, TimeProvider? clock = null)
        : this(specialTokens, clock)
    {
        ArgumentNullException.ThrowIfNull(source);
        body = TemplateParser.Parse(source);
    }

    private ChatTemplate(IReadOnlyDictionary<string, string>? specialTokens, TimeProvider? clock)
    {
        this.clock = clock ?? TimeProvider.System;
        constants = new Dictionary<string, object?>(StringComparer.Ordinal)
        {
            ["range"] = (TemplateFunction)Range,
            ["namespace"] = (TemplateFunction)Namespace,
            ["raise_exception"] = (TemplateFunction)RaiseException,
            ["strftime_now"] = (TemplateFunction)Now,
        };
        foreach ((string name, string text) in specialTokens ?? new Dictionary<string, string>()) constants[name] = text;
    }

    /// <summary>What the template uses that is not supported, so that <see cref="Render"/> throws; null when it can be rendered.</summary>
    public string? Complaint { get; private init; }

    /// <summary>
    /// Reads the template of a model folder: <c>chat_template.jinja</c>, or <c>chat_template</c> of <c>tokenizer_config.json</c>, where a
    /// list holds several by name. Returns null when there is none. One that is not supported has a <see cref="Complaint"/>: the model
    /// still answers prompts.
    /// </summary>
    public static ChatTemplate? Load(string folder, string name = "default", TimeProvider? clock = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        string configPath = Path.Combine(folder, ConfigFile), templatePath = Path.Combine(folder, TemplateFile);
        using JsonDocument? config = File.Exists(configPath) ? TokenizerLoader.Open(configPath) : null;
        var root = new JsonSection(config?.RootElement ?? default, configPath);
        string? source = File.Exists(templatePath) && name == "default" ? File.ReadAllText(templatePath) : Select(root["chat_template"], name);
        if (source is null) return null;

        var specialTokens = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (string token in SpecialTokenNames)
        {
            if (TokenizerLoader.SpecialToken(root, token) is string text) specialTokens[token] = text;
        }
        try
        {
            return new ChatTemplate(source, specialTokens, clock);
        }
        catch (ChatTemplateException error)
        {
            return new ChatTemplate(specialTokens, clock) { Complaint = error.Message };
        }
    }

    /// <summary>Renders a conversation.</summary>
    /// <param name="messages">Its turns, oldest first.</param>
    /// <param name="addGenerationPrompt">Ends with the beginning of the assistant's next turn.</param>
    /// <param name="variables">
    /// More variables of the template, such as <c>enable_thinking</c> or <c>tools</c>: null, bool, numbers, strings, JsonElement, lists and
    /// dictionaries with string keys.
    /// </param>
    public string Render(
        IReadOnlyList<ChatMessage> messages, bool addGenerationPrompt = true, IReadOnlyDictionary<string, object?>? variables = null)
    {
        ArgumentNullException.ThrowIfNull(messages);
        if (body is null) throw new ChatTemplateException(Complaint!);
        var scope = new TemplateScope(null);
        foreach ((string name, object? value) in constants) scope[name] = value;
        (scope["tools"], scope["documents"]) = (null, null);
        scope["messages"] = messages.Select(object? (message) => new Dictionary<string, object?>(StringComparer.Ordinal)
        {
            ["role"] = message.Role,
            ["content"] = message.Content,
        }).ToList();
        scope["add_generation_prompt"] = addGenerationPrompt;
        foreach ((string name, object? value) in variables ?? new Dictionary<string, object?>()) scope[name] = TemplateValues.FromOutside(value);

        var output = new StringBuilder();
        body(scope, output);
        return output.ToString();
    }

    private static string? Select(JsonSection section, string name)
    {
        if (section.IsMissing) return null;
        if (section.Element.ValueKind == JsonValueKind.String) return name == "default" ? section.Element.GetString() : null;
        if (section.Element.ValueKind != JsonValueKind.Array) throw section.Malformed("a string or a list of named templates");
        foreach (JsonElement entry in section.Element.EnumerateArray())
        {
            var item = new JsonSection(entry, section.Where);
            if (item.RequiredText("name") == name) return item.RequiredText("template");
        }
        return null;
    }

    private static object? RaiseException(TemplateArguments arguments) =>
        throw new ChatTemplateException(TemplateValues.ToText(arguments.Get(0, "message")));

    private string Now(TemplateArguments arguments) =>
        TemplateClock.Format(clock.GetLocalNow(), TemplateValues.ToText(arguments.Get(0, "format")));

    private static object? Range(TemplateArguments arguments)
    {
        long[] bounds = [.. arguments.Positional.Select(TemplateValues.ToInteger)];
        (long start, long stop, long step) = bounds.Length switch
        {
            1 => (0, bounds[0], 1L),
            2 => (bounds[0], bounds[1], 1L),
            3 when bounds[2] != 0 => (bounds[0], bounds[1], bounds[2]),
            _ => throw new ChatTemplateException(
                "Chat template: range takes a stop, a start and a stop, or a start, a stop and a step other than 0."),
        };
        var items = new List<object?>();
        for (long i = start; step > 0 ? i < stop : i > stop; i += step) items.Add(i);
        return items;
    }

    private static object? Namespace(TemplateArguments arguments)
    {
        var space = new TemplateNamespace();
        foreach ((string name, object? value) in arguments.Named) space.Members[name] = value;
        return space;
    }
}
