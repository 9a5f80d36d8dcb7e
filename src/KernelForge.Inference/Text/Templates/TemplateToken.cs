namespace KernelForge.Inference;

internal enum TemplateTokenKind { Text, OpenExpression, OpenStatement, Close, Name, String, Integer, Float, Symbol, End }

/// <summary>A piece of a template: text between tags, or a token within one.</summary>
internal readonly record struct TemplateToken(TemplateTokenKind Kind, string Value, int Line)
{
    public bool Is(TemplateTokenKind kind, string value) => Kind == kind && Value == value;

    public override string ToString() => Kind switch
    {
        TemplateTokenKind.End => "the end of the template",
        TemplateTokenKind.Close => "the end of the tag",
        TemplateTokenKind.String => $"the string '{Value}'",
        _ => $"'{Value}'",
    };
}
