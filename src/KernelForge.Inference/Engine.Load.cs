namespace KernelForge.Inference;

/// <content>From a Hugging Face folder to an engine.</content>
public sealed partial class Engine
{
    private const int DeviceTile = 128; // rows that the matrix products of a CUDA device compute together

    /// <summary>Shape of the model; null for an engine that was not loaded from a folder.</summary>
    public ModelConfig? Model { get; private init; }

    /// <summary>The options it was loaded with, what they left to device and model filled in; null for an engine that was not loaded from a folder.</summary>
    public EngineOptions? Options { get; private init; }

    /// <summary>Device memory that it takes; null for an engine that was not loaded from a folder.</summary>
    public EngineMemory? Memory { get; private init; }

    /// <summary>
    /// Why the packed file in the model's folder was not used, and weights were packed in memory: as when the checkpoint has changed since. Null where it was
    /// used, or there is none.
    /// </summary>
    public string? PackedFileComplaint { get; private init; }

    /// <summary>How the model wants a conversation written; null when its folder has no template.</summary>
    public ChatTemplate? ChatTemplate { get; private init; }

    /// <summary>Loads config.json, tokenizer.json and the safetensors weights of a model folder and allocates the KV cache.</summary>
    /// <param name="folder">A Hugging Face model folder of the Llama family: see <see cref="ModelConfig.SupportedArchitectures"/>.</param>
    /// <param name="options">Sizes and policies.</param>
    /// <param name="device">Where to compute; <see cref="Device.Default"/> when null. It is not disposed with the engine.</param>
    /// <param name="progress">Told the share of the weights that is loaded, from 0 to 1.</param>
    /// <param name="cancellationToken">Ends loading between two pieces of the weights.</param>
    /// <exception cref="ModelFormatException">The folder cannot be used; the message says why.</exception>
    /// <exception cref="InsufficientMemoryException">Weights, KV cache and intermediate results do not fit into the device's memory; the message says for
    /// what.</exception>
    /// <exception cref="ArgumentException">An option is out of range, or the device does not compute in the type asked for.</exception>
    /// <exception cref="OperationCanceledException">Loading was cancelled.</exception>
    public static Engine Load(
        string folder, EngineOptions? options = null, Device? device = null, IProgress<double>? progress = null, CancellationToken cancellationToken = default)
    {
        options ??= new EngineOptions();
        device ??= Device.Default;
        ChatTemplate? template = ChatTemplate.Load(folder);
        using var target = new ModelFolder(folder);
        using ModelFolder? draft = options.Speculation?.DraftModel is { } draftFolder ? new ModelFolder(draftFolder) : null;
        draft?.RequireTokensOf(target);
        options = options.For(device, target, draft);
        var memory = EngineMemory.Of(device, target, draft, options);
        memory.RequireFits(device);

        try
        {
            Transformer? draftModel = draft?.Load(device, options with { PackedFile = options.PackedFile is "" ? "" : null }, progress: null, cancellationToken);
            Transformer model = LoadBeside(draftModel, () => target.Load(device, options, progress, cancellationToken));
            return Create(model, draftModel, memory, options, target.Tokenizer, template);
        }
        catch (OutOfMemoryException error) when (error is not InsufficientMemoryException)
        {
            throw memory.Refused(device, error);
        }
    }

    /// <summary>What carries steps out: a model alone, or one with a drafter. It owns the models, even when it cannot be made.</summary>
    /// <param name="model">The model.</param>
    /// <param name="draftModel">Loaded from <see cref="SpeculationOptions.DraftModel"/>; null where there is none.</param>
    /// <param name="options">With all types named.</param>
    /// <param name="blocks">KV blocks of the scheduler.</param>
    internal static IStepRunner CreateRunner(Transformer model, Transformer? draftModel, EngineOptions options, int blocks)
    {
        int branchBlocks = options.BranchBlocks(blocks);
        KvCache? cache = null;
        IDrafter? drafter = null;
        try
        {
            if (options.Speculation is not null) drafter = Drafters.Create(draftModel, options, blocks + branchBlocks, branchBlocks);
            cache = KvCache.Of(model, options, blocks + branchBlocks);
            return drafter is null
                ? new ModelRunner(model, cache, options.TokenBudget, options.MaxSequences, options.PrefixGroups)
                : new SpeculativeRunner(model, cache, drafter, options.Speculation!, options.TokenBudget, options.MaxSequences, options.PrefixGroups, branchBlocks);
        }
        catch
        {
            cache?.Dispose();
            drafter?.Dispose();
            model.Dispose();
            throw;
        }
    }

    private static Engine Create(
        Transformer model, Transformer? draftModel, in EngineMemory memory, EngineOptions options, ITokenizer tokenizer, ChatTemplate? template)
    {
        ModelConfig config = model.Config;
        int maxTokensPerStep = 1 + (options.Speculation?.LongestDraft ?? 0);
        SchedulerOptions numbers = options.ForModel(model.MaxContext, config.EndTokenIds, memory.BytesPerBlock, maxTokensPerStep, model.Device.IsCpu ? 1 : DeviceTile);
        IStepRunner runner = CreateRunner(model, draftModel, options, numbers.BlockCount);
        return new Engine(new Scheduler(numbers), runner, config.VocabularySize, tokenizer, options.Timeouts)
        {
            Model = config,
            ChatTemplate = template,
            Options = options,
            Memory = memory,
            PackedFileComplaint = model.PackedFileComplaint,
        };
    }

    /// <summary>Loads a model; the one loaded before does not outlive a failure.</summary>
    private static Transformer LoadBeside(Transformer? before, Func<Transformer> load)
    {
        try
        {
            return load();
        }
        catch
        {
            before?.Dispose();
            throw;
        }
    }
}
