using System.Globalization;
using System.Text.Json;
using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary>
/// Reads an input, plain or OpenAI batch lines, one record a line. A line that cannot be read becomes a record with an error; one that is
/// no JSON is taken to be in the format of the good line before it, or else of the first good line.
/// </summary>
internal sealed class PromptReader(SamplingOptions defaults)
{
    private static readonly JsonDocumentOptions Strict = new() { AllowDuplicateProperties = false };

    private readonly HashSet<string> _ids = [];
    private LineFormat? _format;

    public IEnumerable<PromptRecord> Read(Stream input)
    {
        List<PromptRecord> unknown = []; // broken lines before the first good one
        foreach (JsonLine line in JsonLines.Read(input))
        {
            if (JsonLines.IsBlank(line.Bytes.Span)) continue;
            PromptRecord record = Read(line);
            if (_format is null)
            {
                unknown.Add(record);
                continue;
            }
            foreach (PromptRecord earlier in unknown) yield return earlier with { Format = _format.Value };
            unknown.Clear();
            yield return record;
        }
        foreach (PromptRecord record in unknown) yield return record;
    }

    private PromptRecord Read(JsonLine line)
    {
        var record = new PromptRecord { LineNumber = line.Number, Id = $"line-{line.Number}", Format = _format ?? LineFormat.Plain };
        try
        {
            using JsonDocument document = JsonDocument.Parse(line.Bytes, Strict);
            var root = new LineValue("the line", document.RootElement);
            if (root.Element.ValueKind != JsonValueKind.Object) throw root.Wrong("a JSON object");

            bool isBatch = BatchLine.IsOne(root.Element);
            _format = isBatch ? BatchLine.FormatOf(root.Element) : LineFormat.Plain;
            record = WithId(record with { Format = _format.Value }, root.Member(isBatch ? "custom_id" : "id"));
            if (!_ids.Add(record.Id)) throw new LineException($"the id '{record.Id}' is used by an earlier line");
            return isBatch ? BatchLine.Read(record, root, defaults) : PlainLine.Read(record, root, defaults);
        }
        catch (JsonException error)
        {
            return record with { Error = $"the line is no valid JSON: {error.Message}" };
        }
        catch (InvalidOperationException)
        {
            return record with { Error = "the line has a string that is no valid Unicode text" };
        }
        catch (LineException error)
        {
            return record with { Error = error.Message };
        }
    }

    private static PromptRecord WithId(PromptRecord record, LineValue? id)
    {
        if (id is not { } value) return record;
        if (value.Element.ValueKind == JsonValueKind.Number && value.Element.TryGetInt64(out long number))
            return record with { Id = number.ToString(CultureInfo.InvariantCulture), IdIsNumber = true };
        return value.Element.ValueKind == JsonValueKind.String ? record with { Id = value.Text() } : throw value.Wrong("a string or a whole number");
    }
}
