using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary>Turns what a line says into a request: conversation to text, text to token ids.</summary>
/// <param name="tokenizer">Of the model.</param>
/// <param name="template">Of the model; null when it has none.</param>
/// <param name="raw">Puts no special tokens around prompts. Conversations never get them: their template writes them out.</param>
internal sealed class RequestBuilder(ITokenizer tokenizer, ChatTemplate? template, bool raw)
{
    /// <summary>The answer to wait for; one with an error when the line has no usable prompt.</summary>
    public Answer Begin(PromptRecord record, int index)
    {
        if (record.Error is not null) return new Answer(index, record, null, record.Error);
        try
        {
            int[] ids = record.TokenIds ?? Encode(record);
            if (ids.Length == 0) throw new LineException("the prompt is empty");
            return new Answer(index, record, new Request(ids, record.Sampling) { Id = record.Id }, null);
        }
        catch (LineException error)
        {
            return new Answer(index, record, null, error.Message);
        }
    }

    private int[] Encode(PromptRecord record)
    {
        if (record.Messages is not { } messages) return tokenizer.Encode(record.Text!, addSpecialTokens: !raw);
        if (template is null) throw new LineException("the model has no chat template, which messages need");
        try
        {
            string text = template.Render([.. messages.Select(message => new ChatMessage(message.Role, message.Content))]);
            return tokenizer.Encode(text, addSpecialTokens: false);
        }
        catch (ChatTemplateException error)
        {
            throw new LineException(error.Message.TrimEnd('.'));
        }
    }
}
