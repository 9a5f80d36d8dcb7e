using System.Globalization;
using KernelForge.Inference;

namespace KernelForge.Bench;

/// <summary>What a <see cref="PeerSession"/> was told.</summary>
/// <param name="Model">Folder of a model with the planted chain.</param>
/// <param name="Threads">That compute.</param>
/// <param name="Engine">Sizes for the longest prefix and the largest batch.</param>
internal sealed record PeerOptions(string Model, int Threads, EngineOptions Engine)
{
    private const int Sequences = 128, TokensEach = 128;

    public static PeerOptions Parse(ReadOnlySpan<string> arguments)
    {
        string? model = null;
        int threads = 0, context = 8192;
        var engine = new EngineOptions { KvType = DType.BF16, MaxSequences = Sequences };
        for (int i = 0; i + 1 < arguments.Length; i += 2)
        {
            string value = arguments[i + 1];
            switch (arguments[i])
            {
                case "--model": model = value; break;
                case "--threads": threads = Number(value); break;
                case "--context": context = Number(value); break;
                case "--activations": engine = engine with { Activations = Enum.Parse<ActivationPrecision>(value, ignoreCase: true) }; break;
                case "--kv-type": engine = engine with { KvType = Enum.Parse<DType>(value, ignoreCase: true) }; break;
                default: throw new ArgumentException($"Expected --model, --threads, --context, --activations or --kv-type, not {arguments[i]}.");
            }
        }
        int blocks = (context + Sequences * TokensEach) / engine.BlockSize;
        return new PeerOptions(model ?? throw new ArgumentException("--model DIR is needed."), threads, engine with { KvBlocks = blocks });

        static int Number(string text) => int.Parse(text, CultureInfo.InvariantCulture);
    }
}
