namespace KernelForge.Inference;

/// <content>From a Hugging Face folder to an engine.</content>
public sealed partial class Engine
{
    /// <summary>Shape of the model; null for an engine that was not loaded from a folder.</summary>
    public ModelConfig? Model { get; private init; }

    /// <summary>The options it was loaded with, what they left to device and model filled in; null for an engine that was not loaded from a folder.</summary>
    public EngineOptions? Options { get; private init; }

    /// <summary>Device memory that it takes; null for an engine that was not loaded from a folder.</summary>
    public EngineMemory? Memory { get; private init; }

    /// <summary>How the model wants a conversation written; null when its folder has no template.</summary>
    public ChatTemplate? ChatTemplate { get; private init; }

    /// <summary>Loads config.json, tokenizer.json and the safetensors weights of a model folder and allocates the KV cache.</summary>
    /// <param name="folder">A Hugging Face model folder of the Llama family: see <see cref="ModelConfig.SupportedArchitectures"/>.</param>
    /// <param name="options">Sizes and policies.</param>
    /// <param name="device">Where to compute; <see cref="Device.Default"/> when null. It is not disposed with the engine.</param>
    /// <param name="progress">Told the share of the weights that is loaded, from 0 to 1.</param>
    /// <param name="cancellationToken">Ends loading between two pieces of the weights.</param>
    /// <exception cref="ModelFormatException">The folder cannot be used; the message says why.</exception>
    /// <exception cref="InsufficientMemoryException">Weights, KV cache and intermediate results do not fit into the device's memory; the message says for what.</exception>
    /// <exception cref="ArgumentException">An option is out of range, or the device does not compute in the type asked for.</exception>
    /// <exception cref="OperationCanceledException">Loading was cancelled.</exception>
    public static Engine Load(
        string folder, EngineOptions? options = null, Device? device = null, IProgress<double>? progress = null, CancellationToken cancellationToken = default)
    {
        options ??= new EngineOptions();
        device ??= Device.Default;
        ITokenizer tokenizer = TokenizerLoader.Load(folder);
        ChatTemplate? template = ChatTemplate.Load(folder);
        ModelConfig config = ModelConfig.Load(folder);
        var checkpoint = new Checkpoint(folder);
        EngineMemory memory;
        try
        {
            options = options.For(device, config, checkpoint);
            memory = EngineMemory.Of(device, config, checkpoint.BytesAs(options.ComputeType!.Value, config.Quantization), options);
            memory.RequireFits(device);
        }
        catch
        {
            checkpoint.Dispose();
            throw;
        }

        try
        {
            Transformer model = Transformer.Load(device, config, checkpoint, options, progress, cancellationToken);
            return Create(model, memory, options, tokenizer, template);
        }
        catch (OutOfMemoryException error) when (error is not InsufficientMemoryException)
        {
            throw memory.Refused(device, error);
        }
    }

    /// <summary>An engine that owns the model, even when it cannot be made.</summary>
    private static Engine Create(Transformer model, in EngineMemory memory, EngineOptions options, ITokenizer tokenizer, ChatTemplate? template)
    {
        ModelConfig config = model.Config;
        KvCache? cache = null;
        try
        {
            var format = new KvFormat(options.BlockSize, config.KvHeads, config.HeadDim, options.KvType!.Value);
            SchedulerOptions numbers = options.ForModel(model.MaxContext, config.EndTokenIds, memory.BytesPerBlock, maxTokensPerStep: 1);
            cache = new KvCache(model.Device, config.Layers, format, numbers.BlockCount);
            var runner = new ModelRunner(model, cache, options.TokenBudget, options.MaxSequences, options.PrefixGroups);
            return new Engine(new Scheduler(numbers), runner, config.VocabularySize, tokenizer)
            {
                Model = config,
                ChatTemplate = template,
                Options = options,
                Memory = memory,
            };
        }
        catch
        {
            cache?.Dispose();
            model.Dispose();
            throw;
        }
    }
}
