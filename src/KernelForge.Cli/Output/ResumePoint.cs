using System.Text.Json;
using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary>What an earlier run left in an output: complete answers, perhaps followed by a torn line.</summary>
/// <param name="Ids">Ids of the complete answers, in order.</param>
/// <param name="Length">Bytes that they take; what follows is torn.</param>
/// <param name="Errors">How many of them are errors.</param>
internal sealed record ResumePoint(IReadOnlyList<string> Ids, long Length, int Errors)
{
    public static ResumePoint Start { get; } = new([], 0, 0);

    /// <summary>
    /// Reads an output. A last line without a newline, or that is no answer, is torn. Throws <see cref="CommandException"/> when another
    /// line is no answer.
    /// </summary>
    public static ResumePoint Read(Stream output, string name)
    {
        List<string> ids = [];
        long length = 0;
        int errors = 0, tornLine = 0;
        foreach (JsonLine line in JsonLines.Read(output))
        {
            if (tornLine > 0) throw new CommandException($"{name} cannot be resumed: line {tornLine} is no answer.");
            if (!line.IsComplete || ReadId(line, out bool isError) is not { } id)
            {
                tornLine = line.Number;
                continue;
            }
            ids.Add(id);
            length = line.End;
            if (isError) errors++;
        }
        return new ResumePoint(ids, length, errors);
    }

    /// <summary>Throws <see cref="CommandException"/> unless the answers are those of the first lines of the input.</summary>
    public void RequireBeginningOf(IReadOnlyList<string> inputIds, string name)
    {
        for (int i = 0; i < Ids.Count; i++)
        {
            if (i >= inputIds.Count)
                throw new CommandException($"{name} belongs to another input: it has {Ids.Count} answers, the input has {inputIds.Count} lines.");
            if (Ids[i] != inputIds[i])
            {
                throw new CommandException(
                    $"{name} belongs to another input: answer {i + 1} is for '{Ids[i]}', the input has '{inputIds[i]}' there.");
            }
        }
    }

    private static string? ReadId(JsonLine line, out bool isError)
    {
        isError = false;
        try
        {
            using JsonDocument document = JsonDocument.Parse(line.Bytes);
            JsonElement root = document.RootElement;
            if (root.ValueKind != JsonValueKind.Object) return null;

            isError = root.TryGetProperty("error", out JsonElement error) && error.ValueKind != JsonValueKind.Null;
            if (!root.TryGetProperty("custom_id", out JsonElement id) && !root.TryGetProperty("id", out id)) return null;
            return id.ValueKind == JsonValueKind.String ? id.GetString() : id.GetRawText();
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            return null;
        }
    }
}
