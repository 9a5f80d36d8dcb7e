using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;

namespace KernelForge.Inference;

/// <summary>
/// What steps cost on a device: rates and constants of <see cref="CostModel"/>. Published peaks times the share of them that kernels reach, or measured by
/// <see cref="Profiler"/>. JSON with snake_case keys.
/// </summary>
public sealed partial record DeviceProfile
{
    /// <summary>What it is called.</summary>
    public required string Name { get; init; }

    /// <summary>Where the numbers come from.</summary>
    public string Source { get; init; } = "";

    /// <summary>Peak of dense matrix products of 16 bits, in floating-point operations per second.</summary>
    public required double MatrixFlops { get; init; }

    /// <summary>Share of <see cref="MatrixFlops"/> that linear layers reach.</summary>
    public double MatrixEfficiency { get; init; } = 1;

    /// <summary>Share of the linear layers' rate that is left where quantised weights are turned into 16 bits on the way.</summary>
    public double DequantisedEfficiency { get; init; } = 1;

    /// <summary>Share of <see cref="MatrixFlops"/> that attention reaches.</summary>
    public double AttentionEfficiency { get; init; } = 1;

    /// <summary>Peak of reading memory, in bytes per second.</summary>
    public required double MemoryBytesPerSecond { get; init; }

    /// <summary>Share of <see cref="MemoryBytesPerSecond"/> that reading weights reaches.</summary>
    public double MemoryEfficiency { get; init; } = 1;

    /// <summary>Share of <see cref="MemoryBytesPerSecond"/> that reading keys and values reaches.</summary>
    public double AttentionMemoryEfficiency { get; init; } = 1;

    /// <summary>Memory for weights, keys and values, and intermediate results, in bytes.</summary>
    public required long MemoryBytes { get; init; }

    /// <summary>Bytes of weights that stay in caches from one step to the next: a model with no more of them reads none from memory.</summary>
    public long CacheBytes { get; init; }

    /// <summary>Seconds of a step, whatever it computes: planning, upload, fetching tokens.</summary>
    public double StepSeconds { get; init; }

    /// <summary>Seconds of a layer, whatever it computes: launches and small operators.</summary>
    public double LayerSeconds { get; init; }

    /// <summary>Seconds of a row with logits, beside its part in the output projection: planning and choosing its token.</summary>
    public double RowSeconds { get; init; }

    /// <summary>Query tokens up to a multiple of which linear layers compute, a power of two; fewer ones go up to a power of two.</summary>
    public int TileTokens { get; init; } = 1;

    /// <summary>Share of the shorter one of arithmetic and memory traffic that hides behind the longer one: 1 on a roofline, 0 where they add up.</summary>
    public double Overlap { get; init; } = 1;

    /// <summary>Floating-point operations per byte at which large matrix products are bound by both, at the rates that are reached.</summary>
    [JsonIgnore]
    public double RidgePoint => MatrixFlops * MatrixEfficiency / (MemoryBytesPerSecond * MemoryEfficiency);

    /// <summary>A known device.</summary>
    /// <exception cref="ArgumentException">There is none of that name; lists the known ones.</exception>
    public static DeviceProfile Named(string name) => Known.FirstOrDefault(device => device.Name == name)
        ?? throw new ArgumentException(
            $"Unknown device '{name}'; expected {string.Join(", ", Known.Select(device => device.Name))} or a profile of kf profile (FILE.json).", nameof(name));

    /// <summary>Reads what <see cref="ToJson"/> wrote.</summary>
    /// <exception cref="InvalidDataException">The file holds something else; says what was expected and what came.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static DeviceProfile Read(string path)
    {
        try
        {
            return Parse(File.ReadAllText(path));
        }
        catch (InvalidDataException error)
        {
            throw new InvalidDataException($"{path}: {error.Message}", error);
        }
    }

    /// <summary>Parses what <see cref="ToJson"/> returns.</summary>
    /// <exception cref="InvalidDataException">It is something else; says what was expected and what came.</exception>
    public static DeviceProfile Parse(string json)
    {
        try
        {
            JsonNode? given = JsonNode.Parse(json);
            if (given is not JsonObject members) throw new JsonException($"expected an object, not {given?.GetValueKind().ToString() ?? "null"}");
            DeviceProfile profile = WithDefaults(members).Deserialize(DeviceProfileJson.Default.DeviceProfile)!;
            profile.Validate();
            return profile;
        }
        catch (Exception error) when (error is JsonException or ArgumentException)
        {
            throw new InvalidDataException($"This is no device profile: {error.Message}", error);
        }
    }

    /// <summary>As indented JSON with snake_case keys.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, DeviceProfileJson.Default.DeviceProfile);

    /// <summary>Throws <see cref="ArgumentException"/> naming the number that is out of range.</summary>
    public void Validate()
    {
        Require(MatrixFlops > 0 && double.IsFinite(MatrixFlops), nameof(MatrixFlops), "more than 0", MatrixFlops);
        Require(MemoryBytesPerSecond > 0 && double.IsFinite(MemoryBytesPerSecond), nameof(MemoryBytesPerSecond), "more than 0", MemoryBytesPerSecond);
        Require(MemoryBytes > 0, nameof(MemoryBytes), "more than 0", MemoryBytes);
        Require(CacheBytes >= 0, nameof(CacheBytes), "0 or more", CacheBytes);
        RequirePositive(MatrixEfficiency, nameof(MatrixEfficiency));
        RequirePositive(DequantisedEfficiency, nameof(DequantisedEfficiency));
        RequirePositive(AttentionEfficiency, nameof(AttentionEfficiency));
        RequirePositive(MemoryEfficiency, nameof(MemoryEfficiency));
        RequirePositive(AttentionMemoryEfficiency, nameof(AttentionMemoryEfficiency));
        Require(StepSeconds is >= 0 and < double.PositiveInfinity, nameof(StepSeconds), "0 or more", StepSeconds);
        Require(LayerSeconds is >= 0 and < double.PositiveInfinity, nameof(LayerSeconds), "0 or more", LayerSeconds);
        Require(RowSeconds is >= 0 and < double.PositiveInfinity, nameof(RowSeconds), "0 or more", RowSeconds);
        Require(TileTokens > 0 && int.IsPow2(TileTokens), nameof(TileTokens), "a power of two", TileTokens);
        Require(Overlap is >= 0 and <= 1, nameof(Overlap), "from 0 to 1", Overlap);
    }

    /// <summary>The members given, and for those left out that need not be given what a new profile has: the generated reader would take 0.</summary>
    private static JsonObject WithDefaults(JsonObject given)
    {
        var blank = new DeviceProfile { Name = "", MatrixFlops = 1, MemoryBytesPerSecond = 1, MemoryBytes = 1 };
        var members = (JsonObject)JsonSerializer.SerializeToNode(blank, DeviceProfileJson.Default.DeviceProfile)!;
        foreach (string required in (ReadOnlySpan<string>)["name", "matrix_flops", "memory_bytes_per_second", "memory_bytes"]) members.Remove(required);
        foreach ((string name, JsonNode? value) in given) members[name] = value?.DeepClone();
        return members;
    }

    private static void RequirePositive(double share, string name) => Require(share > 0 && double.IsFinite(share), name, "more than 0", share);

    private static void Require(bool holds, string name, string expected, double value)
    {
        if (!holds)
            throw new ArgumentException(
                string.Create(CultureInfo.InvariantCulture, $"{JsonNamingPolicy.SnakeCaseLower.ConvertName(name)} must be {expected}, not {value}."));
    }
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, WriteIndented = true, UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow)]
[JsonSerializable(typeof(DeviceProfile))]
internal sealed partial class DeviceProfileJson : JsonSerializerContext;
