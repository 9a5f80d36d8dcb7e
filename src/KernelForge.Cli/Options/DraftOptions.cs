using System.Globalization;
using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary>The options that say how tokens are drafted, and what they come to.</summary>
internal static class DraftOptions
{
    private const string Draft = "--draft", Length = "--draft-length", Branches = "--draft-branches", Prune = "--draft-prune", Staged = "--draft-staged";
    private const string Rejection = "--rejection-sampling";
    private const string NGram = "ngram", Auto = "auto";
    private const int MostTokens = 16, MostBranches = 8;

    public static OptionGroup Group { get; } = new("Drafts: propose tokens, verify them in one step; only --rejection-sampling changes answers",
        new Option(Draft, "DIR|ngram", "draft with a small model of the same tokenizer, or by repeated phrases"),
        new Option(Length, "N", $"tokens drafted per answer and step, 1 to {MostTokens}; auto: as many as pay", Auto),
        new Option(Branches, "N", $"drafts for each next token, 1 to {MostBranches}; more than one makes trees", "1"),
        new Option(Prune, "L:K", "after L layers drop all but the K likeliest drafts for each next token"),
        new Option(Staged, null, "draft by ngram what the draft model would draft"),
        new Option(Rejection, null, "keep how likely each answer is, instead of the answer; accepts more"));

    /// <summary>Null without --draft, which the other options need.</summary>
    public static SpeculationOptions? Of(ParsedOptions parsed)
    {
        if (parsed.Text(Draft) is not { } draft) return Without(parsed);
        if (draft.Length == 0) throw new CommandException($"{Draft} needs the folder of a draft model, or {NGram}.");

        var options = new SpeculationOptions
        {
            DraftModel = draft == NGram ? null : draft,
            DraftLength = LengthOf(parsed),
            Branches = parsed.Whole(Branches, 1, MostBranches) ?? 1,
            EarlyPruning = PruningOf(parsed),
            Staged = parsed.Has(Staged),
            RejectionSampling = parsed.Has(Rejection),
        };
        RequireConsistent(options);
        return options;
    }

    /// <summary>Throws <see cref="CommandException"/> when the folder of the draft model is missing.</summary>
    public static void RequireFolder(SpeculationOptions? options)
    {
        if (options?.DraftModel is not { } folder || Directory.Exists(folder)) return;
        throw new CommandException($"{Draft} must be {NGram} or a model folder that exists, not '{folder}'{Nearest.Suggestion(folder, [NGram])}.");
    }

    private static void RequireConsistent(SpeculationOptions options)
    {
        string? needsModel = options.Staged ? Staged : options.Branches > 1 ? Branches : null;
        if (needsModel is not null && options.DraftModel is null) throw new CommandException($"{needsModel} needs a draft model: {Draft} DIR, not {Draft} {NGram}.");
        if (options.EarlyPruning is not null && options.Branches == 1)
            throw new CommandException($"{Prune} needs drafts with branches: {Branches} 2 or more, not 1.");
        string? needsChains = options.Staged ? Staged : options.RejectionSampling ? Rejection : null;
        if (needsChains is not null && options.Branches > 1) throw new CommandException($"{needsChains} needs drafts without branches: {Branches} 1, not {options.Branches}.");
        if (options.Staged && options.RejectionSampling) throw new CommandException($"{Staged} and {Rejection} exclude each other.");
    }

    private static SpeculationOptions? Without(ParsedOptions parsed)
    {
        foreach (string name in (ReadOnlySpan<string>)[Length, Branches, Prune, Staged, Rejection])
            if (parsed.Has(name)) throw new CommandException($"{name} needs {Draft} DIR or {Draft} {NGram}.");
        return null;
    }

    private static int? LengthOf(ParsedOptions parsed)
    {
        string text = parsed.Text(Length) ?? Auto;
        if (text == Auto) return null;
        return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int length) && length is >= 1 and <= MostTokens
            ? length
            : throw new CommandException($"{Length} must be {Auto} or a whole number from 1 to {MostTokens}, not '{text}'.");
    }

    private static EarlyPruning? PruningOf(ParsedOptions parsed)
    {
        if (parsed.Text(Prune) is not { } text) return null;
        int[] numbers = [.. text.Split(':').Select(part => int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : 0)];
        return numbers is [> 0 and int layers, > 0 and int keep]
            ? new EarlyPruning(layers, keep)
            : throw new CommandException($"{Prune} must be a number of layers and one of tokens, as in 1:4, not '{text}'.");
    }
}
