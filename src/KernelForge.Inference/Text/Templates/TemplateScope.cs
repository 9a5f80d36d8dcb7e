namespace KernelForge.Inference;

/// <summary>A name that nobody has given a value; it prints as nothing and counts as false.</summary>
internal sealed class Undefined(string name)
{
    public string Name => name;
}

/// <summary>The value of <c>namespace(...)</c>: the one kind of object whose members a template may set.</summary>
internal sealed class TemplateNamespace
{
    public Dictionary<string, object?> Members { get; } = new(StringComparer.Ordinal);
}

/// <summary>Arguments of a call.</summary>
internal sealed record TemplateArguments(List<object?> Positional, Dictionary<string, object?> Named)
{
    /// <summary>The argument at a place or of a name, or the default when neither is given.</summary>
    public object? Get(int index, string name, object? otherwise = null) =>
        index < Positional.Count ? Positional[index] : Named.TryGetValue(name, out object? value) ? value : otherwise;
}

/// <summary>A function, method or macro.</summary>
internal delegate object? TemplateFunction(TemplateArguments arguments);

/// <summary>Variables; a loop body and a macro see those around them and keep their own to themselves.</summary>
internal sealed class TemplateScope(TemplateScope? outer)
{
    private readonly Dictionary<string, object?> _variables = new(StringComparer.Ordinal);

    public object? this[string name]
    {
        get
        {
            for (TemplateScope? scope = this; scope is not null; scope = scope.Outer)
            {
                if (scope._variables.TryGetValue(name, out object? value)) return value;
            }
            return new Undefined(name);
        }
        set => _variables[name] = value;
    }

    private TemplateScope? Outer => outer;
}
