using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;
using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary>Writes an answer as a line of JSON in the format of its question. A line has no newline yet.</summary>
/// <param name="tokenizer">Spells tokens in the log-probabilities of batch answers.</param>
/// <param name="defaultModel">Model name in batch answers whose question names none.</param>
internal sealed partial class AnswerJson(ITokenizer tokenizer, string defaultModel)
{
    private static readonly JsonWriterOptions Options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, SkipValidation = true };

    public byte[] LineOf(Answer answer)
    {
        var buffer = new ArrayBufferWriter<byte>(1024);
        using (var json = new Utf8JsonWriter(buffer, Options))
        {
            json.WriteStartObject();
            if (answer.Format == LineFormat.Plain) WritePlain(json, answer);
            else WriteBatch(json, answer);
            json.WriteEndObject();
        }
        return buffer.WrittenSpan.ToArray();
    }

    private static void WritePlain(Utf8JsonWriter json, Answer answer)
    {
        WriteId(json, "id", answer);
        if (answer.Error is { } error)
        {
            json.WriteString("error", error);
            return;
        }

        if (answer.Choices.Count == 1) WriteChoice(json, answer, answer.Choices[0]);
        else WriteChoices(json, answer);
        json.WriteNumber("prompt_tokens", answer.PromptTokens);
        json.WriteNumber("cached_tokens", answer.CachedTokens);
    }

    private static void WriteChoices(Utf8JsonWriter json, Answer answer)
    {
        json.WriteStartArray("choices");
        for (int i = 0; i < answer.Choices.Count; i++)
        {
            json.WriteStartObject();
            json.WriteNumber("index", i);
            WriteChoice(json, answer, answer.Choices[i]);
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    private static void WriteChoice(Utf8JsonWriter json, Answer answer, AnswerChoice choice)
    {
        json.WriteString("text", choice.Text.ToString());
        json.WriteStartArray("token_ids");
        foreach (int id in choice.TokenIds) json.WriteNumberValue(id);
        json.WriteEndArray();
        json.WriteString("finish_reason", NameOf(choice.FinishReason));
        if (!answer.WantsLogProbs) return;

        json.WriteStartArray("logprobs");
        foreach (TokenLogProbs entry in choice.LogProbs)
        {
            json.WriteStartObject();
            WriteLogProb(json, entry.Chosen);
            json.WriteStartArray("top");
            foreach (TokenLogProb top in entry.Top)
            {
                json.WriteStartObject();
                WriteLogProb(json, top);
                json.WriteEndObject();
            }
            json.WriteEndArray();
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    private static void WriteLogProb(Utf8JsonWriter json, TokenLogProb value)
    {
        json.WriteNumber("token_id", value.TokenId);
        WriteFinite(json, "logprob", value.LogProb);
    }

    /// <summary>JSON has no infinity; a token that cannot come gets the lowest number of its type.</summary>
    private static void WriteFinite(Utf8JsonWriter json, string name, float value) => json.WriteNumber(name, Finite(value));

    private static float Finite(float value) => float.IsFinite(value) ? value : float.MinValue;

    private static void WriteId(Utf8JsonWriter json, string name, Answer answer)
    {
        json.WritePropertyName(name);
        if (answer.IdIsNumber) json.WriteRawValue(answer.Id);
        else json.WriteStringValue(answer.Id);
    }

    private static string NameOf(FinishReason? reason) => reason switch
    {
        FinishReason.Stop => "stop",
        FinishReason.Length => "length",
        FinishReason.TimedOut => "timed_out",
        _ => "cancelled",
    };
}
