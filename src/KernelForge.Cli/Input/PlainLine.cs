using System.Text.Json;
using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary>Reads lines of the form {"id", "prompt" or "prompt_token_ids" or "messages", options}.</summary>
internal static class PlainLine
{
    private static readonly string[] OtherKeys = ["id", "prompt", "prompt_token_ids", "messages"];

    /// <summary>Completes a record of which line and id are known.</summary>
    public static PromptRecord Read(PromptRecord record, LineValue line, SamplingOptions defaults)
    {
        SamplingOptions sampling = defaults;
        foreach (LineValue value in line.Members("an object"))
        {
            if (OtherKeys.Contains(value.Key)) continue;
            if (value.Element.ValueKind == JsonValueKind.Null && SamplingKeys.Names.Contains(value.Key)) continue;
            sampling = SamplingKeys.Apply(sampling, value)
                ?? throw new LineException($"unknown key '{value.Key}'{Nearest.Suggestion(value.Key, [.. OtherKeys, .. SamplingKeys.Names])}");
        }
        SamplingKeys.Validate(sampling);

        LineValue? text = line.Member("prompt"), ids = line.Member("prompt_token_ids"), messages = line.Member("messages");
        int prompts = (text is null ? 0 : 1) + (ids is null ? 0 : 1) + (messages is null ? 0 : 1);
        if (prompts == 0) throw new LineException("no prompt: the line needs prompt, prompt_token_ids or messages");
        if (prompts > 1) throw new LineException("more than one of prompt, prompt_token_ids and messages");
        return record with
        {
            Text = text?.Text(),
            TokenIds = ids?.TokenIds(),
            Messages = messages is { } list ? MessagesOf(list) : null,
            Sampling = sampling,
        };
    }

    /// <summary>Turns of a conversation; the content of a turn is a string or a list of text parts.</summary>
    public static PromptMessage[] MessagesOf(LineValue value)
    {
        PromptMessage[] messages = [.. value.Items("a list of messages").Select(MessageOf)];
        return messages.Length > 0 ? messages : throw new LineException("messages must not be empty");
    }

    private static PromptMessage MessageOf(LineValue message)
    {
        string? role = null, content = null;
        foreach (LineValue member in message.Members("an object with role and content"))
        {
            switch (member.Key)
            {
                case "role": role = member.Text(); break;
                case "content": content = ContentOf(member); break;
                case "name" or "refusal": break;
                case var _ when member.Element.ValueKind == JsonValueKind.Null: break;
                default: throw new LineException($"{message.Key} has '{member.Key}', which is not supported; supported are role and content");
            }
        }
        if (role is null || content is null) throw new LineException($"{message.Key} needs role and content");
        return new PromptMessage(role, content);
    }

    private static string ContentOf(LineValue content) => content.Element.ValueKind == JsonValueKind.String
        ? content.Text()
        : string.Concat(content.Items("a string or a list of text parts").Select(PartOf));

    private static string PartOf(LineValue part)
    {
        string? type = null, text = null;
        foreach (LineValue member in part.Members("an object with type and text"))
        {
            if (member.Key == "type") type = member.Text();
            else if (member.Key == "text") text = member.Text();
        }
        return type == "text" && text is not null ? text : throw part.Wrong("""a text part {"type":"text","text":...}""");
    }
}
