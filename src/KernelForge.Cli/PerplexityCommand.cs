using System.Globalization;
using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary><c>kf perplexity</c>: how well a model predicts texts.</summary>
internal static class PerplexityCommand
{
    private const string Head = """
        kf perplexity --model DIR --input FILE [options]

        Measures how likely the model finds texts: the mean of -ln p over tokens, each given those before it, and the perplexity, e to that mean. Lower is
        better; compare models with the same tokenizer, as a model and its quantised forms. A line of the input is one of
          {"text":"Once upon a time ..."}                       all tokens after the first count
          {"prompt":"2 + 2 =","text":" 4"}                      the answer's tokens count; also "prompt_token_ids", "messages" and "token_ids"
          {"id":"q1","prompt":"2 + 2 ="}                        with --score FILE: the answer comes from that file, by id
        Other keys are not looked at. A text longer than the context is cut, and each piece is scored for itself.

        """;

    private const string Tail = """
        Examples:
          kf perplexity --model models/small --input texts.jsonl
          kf perplexity --model models/small-w4 --input prompts.jsonl --score expected.jsonl

        Exit codes:
          0    the texts are scored
          1    they could not be; one sentence says why
          130  interrupted
        """;

    private static readonly OptionTable Table = new(
        new OptionGroup("Options",
            new Option("--model", "DIR", "model folder"),
            new Option("--input", "FILE", "JSON lines"),
            new Option("--score", "FILE", """answers by id: lines of {"id","text"} or {"id","token_ids"}"""),
            new Option("--raw", null, "put no special tokens, such as begin-of-sequence, around texts and prompts"),
            DeviceChoice.DeviceOption,
            new Option("--compute-type", "TYPE", "type of results: f32, bf16 or f16", "as kf run"),
            ActivationsOption.Option,
            new Option("--max-context", "N", "most tokens of a text", "the model's limit"),
            DeviceChoice.ThreadsOption,
            DeviceChoice.PinOption,
            new Option("--quiet", null, "no progress on standard error")));

    public static void WriteHelp(TextWriter writer)
    {
        writer.WriteLine(Head);
        Table.WriteHelp(writer);
        writer.WriteLine(Tail);
    }

    public static int Run(ReadOnlySpan<string> arguments, Terminal terminal, CancellationToken stop)
    {
        ParsedOptions parsed = Table.Parse(arguments);
        string folder = parsed.Required("--model"), input = parsed.Required("--input");
        if (!Directory.Exists(folder)) throw new CommandException($"The model folder {folder} does not exist.");
        List<TextLine> texts = TextsOf(parsed, folder, input);
        using Device device = DeviceChoice.Of(parsed).Open();
        using TextScorer scorer = Load(parsed, device, folder, terminal);
        (double sum, long tokens) = Score(scorer, input, texts, new StatusLine(terminal, parsed.Has("--quiet")), stop);
        if (tokens == 0) throw new CommandException($"{input} has no token to score; expected texts of two tokens or more, or prompts with answers.");

        double mean = sum / tokens;
        terminal.WriteOutput(string.Create(CultureInfo.InvariantCulture, $"texts             {texts.Count}\ntokens scored     {tokens}\nmean of -ln p     {mean:0.000000}\nperplexity        {Math.Exp(mean):0.000000}\n"));
        return ExitCodes.Answered;
    }

    /// <summary>Sorted, so that texts that begin alike follow each other.</summary>
    private static List<TextLine> TextsOf(ParsedOptions parsed, string folder, string input)
    {
        ExpectedAnswers? answers = null;
        if (parsed.Text("--score") is { } score)
        {
            using FileStream expected = RunFiles.OpenRead(score, "--score");
            answers = ExpectedAnswers.Read(expected, score);
        }
        using FileStream stream = RunFiles.OpenRead(input, "--input");
        var reader = new TextLineReader(TokenizerLoader.Load(folder), ChatTemplate.Load(folder), parsed.Has("--raw"), answers);
        List<TextLine> texts = [.. reader.Read(stream, input)];
        texts.Sort((a, b) => a.Tokens.AsSpan().SequenceCompareTo(b.Tokens));
        return texts;
    }

    private static TextScorer Load(ParsedOptions parsed, Device device, string folder, Terminal terminal)
    {
        try
        {
            Transformer model = Transformer.Load(device, folder, new EngineOptions
            {
                ComputeType = RunOptions.TypeOf(parsed, "--compute-type"),
                Activations = ActivationsOption.Of(parsed),
                ContextLength = parsed.Whole("--max-context", 2),
            });
            PackedOption.Complain(model.PackedFileComplaint, terminal);
            return new TextScorer(model);
        }
        catch (ArgumentException error)
        {
            throw OptionNames.Complaint(error);
        }
    }

    private static (double Sum, long Tokens) Score(TextScorer scorer, string input, List<TextLine> texts, StatusLine line, CancellationToken stop)
    {
        (double sum, long tokens) = (0, 0);
        for (int i = 0; i < texts.Count; i++)
        {
            stop.ThrowIfCancellationRequested();
            TextLine text = texts[i];
            line.Show($"scoring: {100 * i / texts.Count}%");
            if (text.Given > 0 && text.Tokens.Length > scorer.MaxTokens)
                throw new CommandException($"{input}, line {text.LineNumber}: prompt and answer have {text.Tokens.Length} tokens, the context {scorer.MaxTokens}.");
            for (int start = 0; start < text.Tokens.Length; start += scorer.MaxTokens)
            {
                ReadOnlySpan<int> piece = text.Tokens.AsSpan(start, Math.Min(scorer.MaxTokens, text.Tokens.Length - start));
                int first = Math.Max(1, text.Given);
                if (first >= piece.Length) continue;
                sum += scorer.Score(piece, first, stop);
                tokens += piece.Length - first;
            }
        }
        line.Clear();
        return (sum, tokens);
    }
}
