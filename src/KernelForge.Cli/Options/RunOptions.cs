using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary>What <c>kf run</c> was told.</summary>
internal sealed record RunOptions
{
    public const string Standard = "-";

    public required string Model { get; init; }

    public required string Input { get; init; }

    public required string Output { get; init; }

    public bool Resume { get; init; }

    public bool Overwrite { get; init; }

    public string? Score { get; init; }

    public string? Summary { get; init; }

    public bool Quiet { get; init; }

    /// <summary>Prompts get no special tokens of the tokenizer.</summary>
    public bool Raw { get; init; }

    /// <summary>What a line does not say.</summary>
    public SamplingOptions Defaults { get; init; } = SamplingOptions.Default;

    public DeviceChoice Device { get; init; }

    /// <summary>Sizes of the engine.</summary>
    public EngineOptions Engine { get; init; } = new();

    /// <summary>How answers are scheduled; null takes the engine's own way, first come, first served.</summary>
    public ServingPolicy? Policy { get; init; }

    public static OptionTable Table { get; } = new(
        new OptionGroup("Files",
            new Option("--model", "DIR", "Hugging Face folder: config.json, *.safetensors, tokenizer.json"),
            new Option("--input", "FILE", "prompts, a JSON object on each line; - reads standard input"),
            new Option("--output", "FILE", "answers, a line each in input order; - writes standard output"),
            new Option("--resume", null, "go on after the answers that the output has"),
            new Option("--overwrite", null, "replace an output that exists"),
            new Option("--score", "FILE", "expected answers, lines of {\"id\",\"text\"} or {\"id\",\"token_ids\"}"),
            new Option("--summary", "FILE", "write the summary as JSON too")),
        new OptionGroup("Sampling, where a line does not say otherwise",
            new Option("--max-tokens", "N", "most tokens of an answer", "256"),
            new Option("--temperature", "T", "0 takes the most likely token", "0"),
            new Option("--top-k", "K", "choose among the K most likely tokens; 0 is off", "0"),
            new Option("--top-p", "P", "choose among the most likely tokens that reach probability P", "1"),
            new Option("--min-p", "P", "drop tokens less likely than P times the most likely one", "0"),
            new Option("--seed", "N", "seed of the random numbers", "0"),
            new Option("--stop", "TEXT", "end an answer before this text; may be repeated"),
            new Option("--ignore-eos", null, "go on after the model's end token"),
            new Option("--raw", null, "put no special tokens, such as begin-of-sequence, around prompts")),
        new OptionGroup("Device and model",
            DeviceChoice.DeviceOption,
            new Option("--compute-type", "TYPE", "type of results: f32, bf16 or f16", "f32; on CUDA 16 bits as the weights"),
            new Option("--kv-type", "TYPE", "type of keys and values: f32, bf16 or f16", "the compute type"),
            ActivationsOption.Option,
            new Option("--max-context", "N", "most tokens of prompt and answer together", "the model's limit")),
        new OptionGroup("Speed and memory; these change no token of any answer",
            DeviceChoice.ThreadsOption,
            DeviceChoice.PinOption,
            PackedOption.File,
            PackedOption.NoPack,
            new Option("--token-budget", "N", "most tokens that are computed in a step", "512"),
            new Option("--time-between-tokens", "MS", "compute fewer prompt tokens in steps that would take longer than this", "off"),
            new Option("--max-sequences", "N", "most answers that grow at the same time", "256"),
            new Option("--kv-memory", "SIZE", "memory for keys and values, as 512M or 2G", "1G; on CUDA 85 % of the free"),
            new Option("--block-size", "N", "token positions in a block of keys and values", "16"),
            new Option("--no-prefix-cache", null, "compute every prompt in full, shared prefixes too"),
            new Option("--no-prefix-groups", null, "let each answer read a shared prefix by itself"),
            EqualLengths.Option,
            PolicyOption.Option),
        DraftOptions.Group,
        new OptionGroup("Display",
            new Option("--quiet", null, "no progress and no summary on standard error")));

    public static RunOptions Parse(ReadOnlySpan<string> arguments)
    {
        ParsedOptions parsed = Table.Parse(arguments);
        var options = new RunOptions
        {
            Model = parsed.Required("--model"),
            Input = parsed.Required("--input"),
            Output = parsed.Required("--output"),
            Resume = parsed.Has("--resume"),
            Overwrite = parsed.Has("--overwrite"),
            Score = parsed.Text("--score"),
            Summary = parsed.Text("--summary"),
            Quiet = parsed.Has("--quiet"),
            Raw = parsed.Has("--raw"),
            Defaults = SamplingOf(parsed),
            Device = DeviceChoice.Of(parsed),
            Engine = EngineOf(parsed),
            Policy = PolicyOption.Of(parsed),
        };
        options.RequireConsistent();
        return options;
    }

    private static EngineOptions EngineOf(ParsedOptions parsed)
    {
        var standard = new EngineOptions();
        return standard with
        {
            TokenBudget = parsed.Whole("--token-budget", 1) ?? standard.TokenBudget,
            TimeBetweenTokens = parsed.Number("--time-between-tokens", 0.01f, 1e7f) is { } pause ? TimeSpan.FromMilliseconds(pause) : null,
            MaxSequences = parsed.Whole("--max-sequences", 1) ?? standard.MaxSequences,
            KvMemoryBytes = parsed.Size("--kv-memory"),
            BlockSize = parsed.Whole("--block-size", 1) ?? standard.BlockSize,
            ComputeType = TypeOf(parsed, "--compute-type"),
            KvType = TypeOf(parsed, "--kv-type"),
            Activations = ActivationsOption.Of(parsed),
            ContextLength = parsed.Whole("--max-context", 2),
            PackWeights = PackedOption.PacksWeights(parsed),
            PackedFile = PackedOption.FileOf(parsed),
            PrefixCache = !parsed.Has("--no-prefix-cache"),
            PrefixGroups = !parsed.Has("--no-prefix-groups"),
            Decodes = EqualLengths.Of(parsed),
            Speculation = DraftOptions.Of(parsed),
        };
    }

    internal static DType? TypeOf(ParsedOptions parsed, string name) => parsed.Choice(name, ("f32", DType.F32), ("bf16", DType.BF16), ("f16", DType.F16));

    private static SamplingOptions SamplingOf(ParsedOptions parsed)
    {
        SamplingOptions standard = SamplingOptions.Default;
        if (parsed.Texts("--stop").Contains("")) throw new CommandException("--stop must be a text that is not empty.");
        float topP = parsed.Number("--top-p", 0, 1) ?? standard.TopP;
        if (topP == 0) throw new CommandException("--top-p must be more than 0.");
        return standard with
        {
            MaxTokens = parsed.Whole("--max-tokens", 1) ?? standard.MaxTokens,
            Temperature = parsed.Number("--temperature", 0, float.MaxValue) ?? standard.Temperature,
            TopK = parsed.Whole("--top-k", 0) ?? standard.TopK,
            TopP = topP,
            MinP = parsed.Number("--min-p", 0, 1) ?? standard.MinP,
            Seed = parsed.Seed("--seed"),
            StopStrings = parsed.Texts("--stop"),
            IgnoreEndToken = parsed.Has("--ignore-eos"),
        };
    }

    private void RequireConsistent()
    {
        if (Resume && Overwrite) throw new CommandException("--resume and --overwrite exclude each other.");
        if (Resume && Output == Standard) throw new CommandException("--resume needs an output file; standard output cannot be read back.");
        RequireDifferent("--input", Input, "--output", Output);
        RequireDifferent("--summary", Summary, "--input", Input);
        RequireDifferent("--summary", Summary, "--output", Output);
        RequireDifferent("--summary", Summary, "--score", Score);
    }

    private static void RequireDifferent(string name, string? path, string otherName, string? otherPath)
    {
        if (path is null or "" or Standard || otherPath is null or "" or Standard) return;
        if (Target(path) == Target(otherPath)) throw new CommandException($"{name} and {otherName} are the same file, {path}.");
    }

    private static string Target(string path) =>
        (File.Exists(path) ? File.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName : null) ?? Path.GetFullPath(path);
}
