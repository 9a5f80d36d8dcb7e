using System.Text.Json;

namespace KernelForge.Inference;

/// <summary>How rotary angles are stretched for long contexts.</summary>
public enum RopeScaling
{
    /// <summary>Not at all.</summary>
    None,

    /// <summary>Positions divided by the factor.</summary>
    Linear,

    /// <summary>Llama 3: low frequencies divided by the factor, high ones kept, a smooth passage between.</summary>
    Llama3,
}

/// <summary>What <c>config.json</c> (and <c>generation_config.json</c>) of a Llama-family model say.</summary>
public sealed record ModelConfig
{
    /// <summary>Architectures that load: Llama, Mistral, Qwen2 and Qwen3, dense.</summary>
    public static IReadOnlyList<string> SupportedArchitectures { get; } =
        ["LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"];

    /// <summary>Name of the model class, as LlamaForCausalLM.</summary>
    public required string Architecture { get; init; }

    /// <summary>Width of the residual stream.</summary>
    public required int HiddenSize { get; init; }

    /// <summary>Transformer layers.</summary>
    public required int Layers { get; init; }

    /// <summary>Query heads.</summary>
    public required int QueryHeads { get; init; }

    /// <summary>Key/value heads, a divisor of <see cref="QueryHeads"/>.</summary>
    public required int KvHeads { get; init; }

    /// <summary>Elements of a head.</summary>
    public required int HeadDim { get; init; }

    /// <summary>Width inside the MLP.</summary>
    public required int MlpSize { get; init; }

    /// <summary>Token ids.</summary>
    public required int VocabularySize { get; init; }

    /// <summary>Most tokens of a sequence, prompt included: the positions the model was made for, or its sliding window where that is smaller.</summary>
    public required int MaxContext { get; init; }

    /// <summary>Epsilon of the normalisations.</summary>
    public float RmsNormEpsilon { get; init; } = 1e-6f;

    /// <summary>Base of the rotary frequencies.</summary>
    public double RopeTheta { get; init; } = 10_000;

    /// <summary>How rotary angles are stretched.</summary>
    public RopeScaling RopeScaling { get; init; }

    /// <summary>By how much.</summary>
    public double RopeFactor { get; init; } = 1;

    /// <summary>Llama 3: wavelengths above original positions / this are divided by the factor.</summary>
    public double RopeLowFrequencyFactor { get; init; } = 1;

    /// <summary>Llama 3: wavelengths below original positions / this are kept.</summary>
    public double RopeHighFrequencyFactor { get; init; } = 4;

    /// <summary>Llama 3: positions before stretching.</summary>
    public double RopeOriginalPositions { get; init; } = 8192;

    /// <summary>Query, key and value projections have a bias.</summary>
    public bool QkvBias { get; init; }

    /// <summary>The attention's output projection has a bias.</summary>
    public bool OutputBias { get; init; }

    /// <summary>The MLP's projections have a bias.</summary>
    public bool MlpBias { get; init; }

    /// <summary>Queries and keys are normalised per head before rotation (Qwen3).</summary>
    public bool QkNorm { get; init; }

    /// <summary>The output projection is the embedding table.</summary>
    public bool TiedEmbeddings { get; init; }

    /// <summary>How linear layers are quantised; null where they are not.</summary>
    public QuantizationConfig? Quantization { get; init; }

    /// <summary>Token ids that end a sequence.</summary>
    public IReadOnlyList<int> EndTokenIds { get; init; } = [];

    /// <summary>Reads a model folder's configuration.</summary>
    /// <exception cref="ModelFormatException">The file is missing or damaged, or the model is of a kind that is not supported.</exception>
    public static ModelConfig Load(string folder)
    {
        string path = Path.Combine(folder, "config.json");
        if (!Directory.Exists(folder)) throw new ModelFormatException($"The model folder {folder} does not exist.");
        if (!File.Exists(path)) throw new ModelFormatException($"{folder} is no model folder: config.json is missing.");
        string generationPath = Path.Combine(folder, "generation_config.json");
        using JsonDocument config = Parse(path);
        using JsonDocument? generation = File.Exists(generationPath) ? Parse(generationPath) : null;
        try
        {
            return ModelConfigReader.Read(path, config.RootElement, generation?.RootElement);
        }
        catch (Exception error) when (error is InvalidOperationException or FormatException or OverflowException)
        {
            throw Invalid(path, error);
        }
    }

    private static JsonDocument Parse(string path)
    {
        JsonDocument? document = null;
        try
        {
            document = JsonDocument.Parse(File.ReadAllBytes(path));
            if (document.RootElement.ValueKind == JsonValueKind.Object) return document;
            throw new JsonException($"expected an object, not {document.RootElement.ValueKind}");
        }
        catch (JsonException error)
        {
            document?.Dispose();
            throw Invalid(path, error);
        }
    }

    private static ModelFormatException Invalid(string path, Exception error) => new($"{path} is no valid model configuration ({error.Message})", error);
}
