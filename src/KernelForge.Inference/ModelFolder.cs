namespace KernelForge.Inference;

/// <summary>A model folder whose files are open and whose weights are not loaded yet. Disposing closes what no model has taken over.</summary>
internal sealed class ModelFolder : IDisposable
{
    private Checkpoint? _checkpoint;

    /// <exception cref="ModelFormatException">The folder cannot be used; the message says why.</exception>
    public ModelFolder(string path)
    {
        Path = path;
        Tokenizer = TokenizerLoader.Load(path);
        Config = ModelConfig.Load(path);
        _checkpoint = new Checkpoint(path);
    }

    public string Path { get; }

    public ModelConfig Config { get; }

    public ITokenizer Tokenizer { get; }

    public Checkpoint Checkpoint => _checkpoint ?? throw new InvalidOperationException($"The weights of {Path} belong to a model.");

    /// <summary>Bytes that its tensors take for activations of a type.</summary>
    public long WeightBytes(DType computeType) => Checkpoint.BytesAs(computeType, Config.Quantization);

    /// <summary>Bytes that they take on a device under options that name the type.</summary>
    public long WeightBytes(Device device, EngineOptions options) => Inference.WeightBytes.Of(device, Config, Checkpoint, options);

    /// <summary>The model, under options that name the type. The files are its own from now on.</summary>
    public Transformer Load(Device device, EngineOptions options, IProgress<double>? progress, CancellationToken cancellation)
    {
        Checkpoint checkpoint = Checkpoint;
        _checkpoint = null;
        return Transformer.Load(device, Config, checkpoint, options, progress, cancellation);
    }

    /// <summary>Throws unless tokens of this model are tokens of that one: drafts pass from one to the other as ids.</summary>
    /// <exception cref="ModelFormatException">Names both folders and the first difference.</exception>
    public void RequireTokensOf(ModelFolder target)
    {
        if (Config.VocabularySize != target.Config.VocabularySize)
            throw Differ(target, $"one has {Config.VocabularySize} token ids, the other {target.Config.VocabularySize}");

        for (int id = 0; id < Config.VocabularySize; id++)
        {
            if (Tokenizer.IsSpecial(id) == target.Tokenizer.IsSpecial(id) && Tokenizer.BytesOf(id).SequenceEqual(target.Tokenizer.BytesOf(id))) continue;
            throw Differ(target, $"token id {id} is {Spelled(id)} in one, {target.Spelled(id)} in the other");
        }
    }

    public void Dispose() => _checkpoint?.Dispose();

    private ModelFormatException Differ(ModelFolder target, string how) =>
        new($"The draft model {Path} does not have the vocabulary of the model {target.Path}: {how}.");

    private string Spelled(int id) => $"'{Tokenizer.Decode([id], skipSpecialTokens: false)}'{(Tokenizer.IsSpecial(id) ? ", a special token," : "")}";
}
