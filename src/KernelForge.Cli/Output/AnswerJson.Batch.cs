using System.Globalization;
using System.Text.Json;
using KernelForge.Inference;

namespace KernelForge.Cli;

/// <content>Answers in the OpenAI batch format. Their creation time is 0, so that equal runs write equal files.</content>
internal sealed partial class AnswerJson
{
    private void WriteBatch(Utf8JsonWriter json, Answer answer)
    {
        string number = answer.LineNumber.ToString(CultureInfo.InvariantCulture);
        json.WriteString("id", "batch_req_" + number);
        WriteId(json, "custom_id", answer);
        if (answer.Error is { } error)
        {
            json.WriteNull("response");
            json.WriteStartObject("error");
            json.WriteString("code", "invalid_request");
            json.WriteString("message", error);
            json.WriteEndObject();
            return;
        }

        json.WriteStartObject("response");
        json.WriteNumber("status_code", 200);
        json.WriteString("request_id", "req_" + number);
        json.WriteStartObject("body");
        WriteBody(json, answer, number);
        json.WriteEndObject();
        json.WriteEndObject();
        json.WriteNull("error");
    }

    private void WriteBody(Utf8JsonWriter json, Answer answer, string number)
    {
        bool isChat = answer.Format == LineFormat.BatchChat;
        json.WriteString("id", (isChat ? "chatcmpl-" : "cmpl-") + number);
        json.WriteString("object", isChat ? "chat.completion" : "text_completion");
        json.WriteNumber("created", 0);
        json.WriteString("model", answer.Model ?? defaultModel);
        json.WriteStartArray("choices");
        for (int i = 0; i < answer.Choices.Count; i++)
        {
            AnswerChoice choice = answer.Choices[i];
            json.WriteStartObject();
            json.WriteNumber("index", i);
            if (isChat) WriteMessage(json, choice);
            else json.WriteString("text", choice.Text.ToString());
            if (!answer.WantsLogProbs) json.WriteNull("logprobs");
            else if (isChat) WriteChatLogProbs(json, choice);
            else WriteCompletionLogProbs(json, choice);
            json.WriteString("finish_reason", NameOf(choice.FinishReason));
            json.WriteEndObject();
        }
        json.WriteEndArray();
        WriteUsage(json, answer);
    }

    private static void WriteMessage(Utf8JsonWriter json, AnswerChoice choice)
    {
        json.WriteStartObject("message");
        json.WriteString("role", "assistant");
        json.WriteString("content", choice.Text.ToString());
        json.WriteNull("refusal");
        json.WriteEndObject();
    }

    private static void WriteUsage(Utf8JsonWriter json, Answer answer)
    {
        json.WriteStartObject("usage");
        json.WriteNumber("prompt_tokens", answer.PromptTokens);
        json.WriteNumber("completion_tokens", answer.GeneratedTokens);
        json.WriteNumber("total_tokens", answer.PromptTokens + answer.GeneratedTokens);
        json.WriteStartObject("prompt_tokens_details");
        json.WriteNumber("cached_tokens", answer.CachedTokens);
        json.WriteEndObject();
        json.WriteEndObject();
    }

    private void WriteCompletionLogProbs(Utf8JsonWriter json, AnswerChoice choice)
    {
        json.WriteStartObject("logprobs");
        json.WriteStartArray("tokens");
        foreach (TokenLogProbs entry in choice.LogProbs) json.WriteStringValue(SpellingOf(entry.Chosen.TokenId));
        json.WriteEndArray();
        json.WriteStartArray("token_logprobs");
        foreach (TokenLogProbs entry in choice.LogProbs) json.WriteNumberValue(Finite(entry.Chosen.LogProb));
        json.WriteEndArray();
        json.WriteStartArray("top_logprobs");
        foreach (TokenLogProbs entry in choice.LogProbs) WriteTop(json, entry);
        json.WriteEndArray();
        json.WriteStartArray("text_offset");
        int offset = 0;
        foreach (TokenLogProbs entry in choice.LogProbs)
        {
            json.WriteNumberValue(offset);
            offset += SpellingOf(entry.Chosen.TokenId).Length;
        }
        json.WriteEndArray();
        json.WriteEndObject();
    }

    /// <summary>Spellings are the keys here; of tokens with the same spelling, parts of characters for example, the likeliest is written.</summary>
    private void WriteTop(Utf8JsonWriter json, TokenLogProbs entry)
    {
        HashSet<string> written = [];
        json.WriteStartObject();
        foreach (TokenLogProb top in entry.Top)
        {
            string spelling = SpellingOf(top.TokenId);
            if (written.Add(spelling)) WriteFinite(json, spelling, top.LogProb);
        }
        json.WriteEndObject();
    }

    private void WriteChatLogProbs(Utf8JsonWriter json, AnswerChoice choice)
    {
        json.WriteStartObject("logprobs");
        json.WriteStartArray("content");
        foreach (TokenLogProbs entry in choice.LogProbs)
        {
            json.WriteStartObject();
            WriteSpelledLogProb(json, entry.Chosen);
            json.WriteStartArray("top_logprobs");
            foreach (TokenLogProb top in entry.Top)
            {
                json.WriteStartObject();
                WriteSpelledLogProb(json, top);
                json.WriteEndObject();
            }
            json.WriteEndArray();
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteEndObject();
    }

    private void WriteSpelledLogProb(Utf8JsonWriter json, TokenLogProb value)
    {
        json.WriteString("token", SpellingOf(value.TokenId));
        WriteFinite(json, "logprob", value.LogProb);
        json.WriteStartArray("bytes");
        foreach (byte part in tokenizer.BytesOf(value.TokenId)) json.WriteNumberValue(part);
        json.WriteEndArray();
    }

    private string SpellingOf(int tokenId) => System.Text.Encoding.UTF8.GetString(tokenizer.BytesOf(tokenId));
}
