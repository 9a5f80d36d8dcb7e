namespace KernelForge.Inference;

/// <summary>The tests of a template, <c>value is name argument</c>.</summary>
internal static class TemplatePredicates
{
    public const string Supported = "boolean, defined, divisibleby, eq, equalto, even, false, float, ge, gt, in, integer, iterable, le, lt, "
        + "mapping, ne, none, number, odd, sequence, string, true, undefined";

    private static readonly HashSet<string> Names = [.. Supported.Split(", ")];

    public static bool Has(string name) => Names.Contains(name);

    public static bool TakesArgument(string name) => name is "divisibleby" or "eq" or "equalto" or "ge" or "gt" or "in" or "le" or "lt" or "ne";

    public static bool Holds(string name, object? value, object? argument) => name switch
    {
        "defined" => value is not Undefined,
        "undefined" => value is Undefined,
        "none" => value is null,
        "string" => value is string,
        "boolean" => value is bool,
        "true" => value is true,
        "false" => value is false,
        "integer" => value is long,
        "float" => value is double,
        "number" => TemplateValues.IsNumber(value),
        "mapping" => value is Dictionary<string, object?>,
        "sequence" or "iterable" => value is string or List<object?> or Dictionary<string, object?>,
        "odd" => TemplateValues.ToInteger(value) % 2 != 0,
        "even" => TemplateValues.ToInteger(value) % 2 == 0,
        "divisibleby" => TemplateValues.ToInteger(TemplateValues.Arithmetic("%", value, argument)) == 0,
        "eq" or "equalto" => TemplateValues.AreEqual(value, argument),
        "ne" => !TemplateValues.AreEqual(value, argument),
        "lt" => TemplateValues.Compare(value, argument) < 0,
        "le" => TemplateValues.Compare(value, argument) <= 0,
        "gt" => TemplateValues.Compare(value, argument) > 0,
        "ge" => TemplateValues.Compare(value, argument) >= 0,
        "in" => TemplateValues.Contains(argument, value),
        _ => throw new ChatTemplateException($"Chat template: the test '{name}'; supported tests: {Supported}."),
    };
}
