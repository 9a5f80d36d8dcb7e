using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary>What linear layers round their inputs to on the CPU: <c>--activations full|bf16|int8</c>.</summary>
internal static class ActivationsOption
{
    public static Option Option { get; } = new(
        "--activations", "TYPE", "round inputs of linear layers on the CPU: full, bf16 or int8", "full");

    /// <summary>For <see cref="EngineOptions.Activations"/>.</summary>
    public static ActivationPrecision Of(ParsedOptions parsed) =>
        parsed.Choice("--activations", ("full", ActivationPrecision.Full), ("bf16", ActivationPrecision.BF16), ("int8", ActivationPrecision.Int8)) ?? ActivationPrecision.Full;

    /// <summary>What to say of an engine besides the type that it computes in.</summary>
    public static string Remark(EngineOptions options) => options.Activations == ActivationPrecision.Full ? "" : $" with {options.Activations} activations";
}
