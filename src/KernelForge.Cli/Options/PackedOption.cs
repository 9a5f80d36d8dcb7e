using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary>How the CPU gets its weights in the order that it multiplies them in: <c>--packed FILE|off</c>, <c>--no-pack</c>.</summary>
internal static class PackedOption
{
    private const string Off = "off";

    public static Option File { get; } = new(
        "--packed", "FILE", "weights that kf pack wrote, or off", $"{ModelPacker.FileName} of the model if it fits");

    public static Option NoPack { get; } = new("--no-pack", null, "compute on the CPU with the model files as they are: less memory, slower");

    /// <summary>For <see cref="EngineOptions.PackWeights"/>.</summary>
    public static bool PacksWeights(ParsedOptions parsed)
    {
        if (parsed.Has("--no-pack") && parsed.Has("--packed")) throw new CommandException("--packed and --no-pack exclude each other.");
        return !parsed.Has("--no-pack");
    }

    /// <summary>For <see cref="EngineOptions.PackedFile"/>.</summary>
    public static string? FileOf(ParsedOptions parsed) => parsed.Text("--packed") is Off ? "" : parsed.Text("--packed");

    /// <summary>Says why a packed file was not used.</summary>
    public static void Complain(string? complaint, Terminal terminal)
    {
        if (complaint is not null) terminal.Error.WriteLine($"kf: {complaint} Weights are packed in memory.");
    }
}
