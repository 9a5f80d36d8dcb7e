namespace KernelForge.Inference;

/// <content>From a Hugging Face folder to an engine.</content>
public sealed partial class Engine
{
    /// <summary>Shape of the model; null for an engine that was not loaded from a folder.</summary>
    public ModelConfig? Model { get; private init; }

    /// <summary>How the model wants a conversation written; null when its folder has no template.</summary>
    public ChatTemplate? ChatTemplate { get; private init; }

    /// <summary>Loads config.json, tokenizer.json and the safetensors weights of a model folder and allocates the KV cache.</summary>
    /// <param name="folder">A Hugging Face model folder of the Llama family: see <see cref="ModelConfig.SupportedArchitectures"/>.</param>
    /// <param name="options">Sizes and policies.</param>
    /// <param name="device">Where to compute; <see cref="Device.Default"/> when null. It is not disposed with the engine.</param>
    /// <exception cref="ModelFormatException">The folder cannot be used; the message says why.</exception>
    /// <exception cref="InsufficientMemoryException">Weights, KV cache and intermediate results do not fit into this machine's memory.</exception>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    public static Engine Load(string folder, EngineOptions? options = null, Device? device = null)
    {
        options ??= new EngineOptions();
        ITokenizer tokenizer = TokenizerLoader.Load(folder);
        ChatTemplate? template = ChatTemplate.Load(folder);
        Transformer model = Transformer.Load(device ?? Device.Default, folder, options.ContextLength);
        try
        {
            EngineMemory memory = EngineMemory.Of(model.Config, model.WeightBytes, options);
            memory.RequireFits();
            return Create(model, memory, options, tokenizer, template);
        }
        catch (OutOfMemoryException error) when (error is not InsufficientMemoryException)
        {
            model.Dispose();
            throw EngineMemory.Of(model.Config, model.WeightBytes, options).Refused(error);
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    private static Engine Create(Transformer model, EngineMemory memory, EngineOptions options, ITokenizer tokenizer, ChatTemplate? template)
    {
        ModelConfig config = model.Config;
        var format = new KvFormat(options.BlockSize, config.KvHeads, config.HeadDim, options.KvType);
        SchedulerOptions numbers = options.ForModel(model.MaxContext, config.EndTokenIds, memory.BytesPerBlock, maxTokensPerStep: 1);
        var cache = new KvCache(model.Device, config.Layers, format, numbers.BlockCount);
        ModelRunner runner;
        try
        {
            runner = new ModelRunner(model, cache, options.TokenBudget, options.MaxSequences);
        }
        catch
        {
            cache.Dispose();
            throw;
        }
        return new Engine(new Scheduler(numbers), runner, config.VocabularySize, tokenizer) { Model = config, ChatTemplate = template };
    }
}
