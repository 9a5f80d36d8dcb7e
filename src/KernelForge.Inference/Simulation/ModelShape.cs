namespace KernelForge.Inference;

/// <summary>The sizes of a model that its time and its memory depend on: a dense decoder on one device.</summary>
public sealed record ModelShape
{
    private const double ScaleBits = 16, ScaleGroup = 128; // of quantised weights

    /// <summary>What it is called.</summary>
    public required string Name { get; init; }

    /// <summary>Transformer layers.</summary>
    public required int Layers { get; init; }

    /// <summary>Width of the residual stream.</summary>
    public required int HiddenSize { get; init; }

    /// <summary>Width inside the MLP.</summary>
    public required int MlpSize { get; init; }

    /// <summary>Query heads.</summary>
    public required int QueryHeads { get; init; }

    /// <summary>Key/value heads.</summary>
    public required int KvHeads { get; init; }

    /// <summary>Elements of a head.</summary>
    public required int HeadDim { get; init; }

    /// <summary>Token ids.</summary>
    public required int VocabularySize { get; init; }

    /// <summary>Most tokens of a sequence, prompt included.</summary>
    public required int MaxContext { get; init; }

    /// <summary>Matrices of the MLP: 3 with a gate (Llama), 2 without (OPT).</summary>
    public int MlpMatrices { get; init; } = 3;

    /// <summary>Whether the output projection is the embedding table.</summary>
    public bool TiedEmbeddings { get; init; }

    /// <summary>
    /// Bits of a weight of the linear layers; below 16 each 128 weights have a scale of 16 bits beside them. The output projection and the embedding have 16.
    /// </summary>
    public double WeightBits { get; init; } = 16;

    /// <summary>Bytes of an element of the output projection and the embedding table.</summary>
    public double EmbeddingBytes { get; init; } = 2;

    /// <summary>Bytes of an element of keys and values.</summary>
    public double KvBytesPerElement { get; init; } = 2;

    /// <summary>Weights of one layer's matrices.</summary>
    public long LayerWeights => HiddenSize * ((2L * QueryHeads + 2L * KvHeads) * HeadDim + (long)MlpMatrices * MlpSize);

    /// <summary>Weights of the output projection.</summary>
    public long HeadWeights => (long)VocabularySize * HiddenSize;

    /// <summary>All weights, those of normalisations left out.</summary>
    public long Parameters => Layers * LayerWeights + (TiedEmbeddings ? 1 : 2) * HeadWeights;

    /// <summary>Bytes of the linear layers' weights, which every step reads.</summary>
    public long LinearBytes => (long)(Layers * LayerWeights * (WeightBits + (WeightBits < 16 ? ScaleBits / ScaleGroup : 0)) / 8);

    /// <summary>Bytes of the output projection's weights, which a step with logits reads.</summary>
    public long HeadBytes => (long)(HeadWeights * EmbeddingBytes);

    /// <summary>Bytes of all weights.</summary>
    public long WeightBytes => LinearBytes + (TiedEmbeddings ? 1 : 2) * HeadBytes;

    /// <summary>Bytes of one token's keys and values in all layers: 2 · layers · key/value heads · head size · bytes.</summary>
    public long KvBytesPerToken => (long)(2.0 * Layers * KvHeads * HeadDim * KvBytesPerElement);

    /// <summary>Floating-point operations of one token in the linear layers: 2 for each weight.</summary>
    public double FlopsPerToken => 2.0 * Layers * LayerWeights;

    /// <summary>Floating-point operations of one row of logits.</summary>
    public double FlopsPerLogitRow => 2.0 * HeadWeights;

    /// <summary>Floating-point operations of attention for one query token and one position, all layers: 4 · layers · query heads · head size.</summary>
    public double FlopsPerAttendedPosition => 4.0 * Layers * QueryHeads * HeadDim;

    /// <summary>Whether weights have less than 16 bits.</summary>
    public bool IsQuantised => WeightBits < 16;

    /// <summary>Models that <see cref="Named"/> knows, from the published configurations.</summary>
    public static IReadOnlyList<ModelShape> Known { get; } =
    [
        new()
        {
            Name = "llama-3-8b", Layers = 32, HiddenSize = 4096, MlpSize = 14336, QueryHeads = 32, KvHeads = 8, HeadDim = 128, VocabularySize = 128256,
            MaxContext = 8192,
        },
        new()
        {
            Name = "llama-3-70b", Layers = 80, HiddenSize = 8192, MlpSize = 28672, QueryHeads = 64, KvHeads = 8, HeadDim = 128, VocabularySize = 128256,
            MaxContext = 8192,
        },
        new()
        {
            Name = "llama-2-7b", Layers = 32, HiddenSize = 4096, MlpSize = 11008, QueryHeads = 32, KvHeads = 32, HeadDim = 128, VocabularySize = 32000,
            MaxContext = 4096,
        },
        new()
        {
            Name = "llama-2-13b", Layers = 40, HiddenSize = 5120, MlpSize = 13824, QueryHeads = 40, KvHeads = 40, HeadDim = 128, VocabularySize = 32000,
            MaxContext = 4096,
        },
        new()
        {
            Name = "mistral-7b", Layers = 32, HiddenSize = 4096, MlpSize = 14336, QueryHeads = 32, KvHeads = 8, HeadDim = 128, VocabularySize = 32768,
            MaxContext = 32768,
        },
        new()
        {
            Name = "qwen2.5-7b", Layers = 28, HiddenSize = 3584, MlpSize = 18944, QueryHeads = 28, KvHeads = 4, HeadDim = 128, VocabularySize = 152064,
            MaxContext = 32768,
        },
        new()
        {
            Name = "yi-34b", Layers = 60, HiddenSize = 7168, MlpSize = 20480, QueryHeads = 56, KvHeads = 8, HeadDim = 128, VocabularySize = 64000,
            MaxContext = 4096,
        },
        new()
        {
            Name = "opt-1.3b", Layers = 24, HiddenSize = 2048, MlpSize = 8192, QueryHeads = 32, KvHeads = 32, HeadDim = 64, VocabularySize = 50272,
            MaxContext = 2048, MlpMatrices = 2, TiedEmbeddings = true,
        },
        new()
        {
            Name = "opt-2.7b", Layers = 32, HiddenSize = 2560, MlpSize = 10240, QueryHeads = 32, KvHeads = 32, HeadDim = 80, VocabularySize = 50272,
            MaxContext = 2048, MlpMatrices = 2, TiedEmbeddings = true,
        },
    ];

    /// <summary>A known model.</summary>
    /// <exception cref="ArgumentException">There is none of that name; lists the known ones.</exception>
    public static ModelShape Named(string name) => Known.FirstOrDefault(model => model.Name == name)
        ?? throw new ArgumentException($"Unknown model '{name}'; expected {string.Join(", ", Known.Select(model => model.Name))}.", nameof(name));

    /// <summary>The shape of a checkpoint.</summary>
    /// <param name="config">What its folder says.</param>
    /// <param name="weightBits">Bits of a weight of its linear layers; null takes those of its quantisation, 16 without one.</param>
    public static ModelShape Of(ModelConfig config, double? weightBits = null)
    {
        ArgumentNullException.ThrowIfNull(config);
        return new ModelShape
        {
            Name = config.Architecture,
            Layers = config.Layers,
            HiddenSize = config.HiddenSize,
            MlpSize = config.MlpSize,
            QueryHeads = config.QueryHeads,
            KvHeads = config.KvHeads,
            HeadDim = config.HeadDim,
            VocabularySize = config.VocabularySize,
            MaxContext = config.MaxContext,
            TiedEmbeddings = config.TiedEmbeddings,
            WeightBits = weightBits ?? config.Quantization?.Format.Bits ?? 16,
        };
    }
}
