using System.Globalization;
using System.Text;

namespace KernelForge.Inference;

/// <summary>
/// The <c>tojson</c> filter with the spacing of Python's <c>json.dumps(ensure_ascii=False)</c>, which models were trained on.
/// </summary>
internal static class TemplateJson
{
    public static string Write(object? value, int? indent)
    {
        var output = new StringBuilder();
        Append(output, value, indent, depth: 0);
        return output.ToString();
    }

    private static void Append(StringBuilder output, object? value, int? indent, int depth)
    {
        switch (value)
        {
            case null: output.Append("null"); break;
            case bool flag: output.Append(flag ? "true" : "false"); break;
            case long or double: output.Append(TemplateValues.ToText(value)); break;
            case string text: AppendString(output, text); break;
            case List<object?> items:
                AppendAll(output, '[', ']', items, indent, depth, item => Append(output, item, indent, depth + 1));
                break;
            case Dictionary<string, object?> entries:
                AppendAll(output, '{', '}', entries, indent, depth, entry =>
                {
                    AppendString(output, entry.Key);
                    output.Append(": ");
                    Append(output, entry.Value, indent, depth + 1);
                });
                break;
            default: throw new ChatTemplateException($"Chat template: tojson cannot write {TemplateValues.Describe(value)}.");
        }
    }

    private static void AppendAll<T>(
        StringBuilder output, char open, char close, IReadOnlyCollection<T> items, int? indent, int depth, Action<T> append)
    {
        output.Append(open);
        bool first = true;
        foreach (T item in items)
        {
            if (!first) output.Append(indent is null ? ", " : ",");
            AppendLineBreak(output, indent, depth + 1);
            append(item);
            first = false;
        }
        if (!first) AppendLineBreak(output, indent, depth);
        output.Append(close);
    }

    private static void AppendLineBreak(StringBuilder output, int? indent, int depth)
    {
        if (indent is int width) output.Append('\n').Append(' ', width * depth);
    }

    private static void AppendString(StringBuilder output, string text)
    {
        output.Append('"');
        foreach (char c in text)
        {
            output.Append(c switch
            {
                '"' => "\\\"",
                '\\' => "\\\\",
                '\n' => "\\n",
                '\r' => "\\r",
                '\t' => "\\t",
                '\b' => "\\b",
                '\f' => "\\f",
                < ' ' => "\\u" + ((int)c).ToString("x4", CultureInfo.InvariantCulture),
                _ => c.ToString(),
            });
        }
        output.Append('"');
    }
}
