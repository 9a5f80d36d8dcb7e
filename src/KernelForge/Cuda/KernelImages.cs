using System.Globalization;

namespace KernelForge.Cuda;

/// <summary>
/// The compiled kernels for one compute capability, by name: built into this library as resources KernelForge.Kernels.sm_80.rms_norm.ptx, or in a folder as
/// sm_80/rms_norm.ptx, which then goes first. Code for sm_90a runs on 9.0 only; other code runs on its capability and every higher one.
/// </summary>
internal sealed unsafe class KernelImages
{
    private const string Prefix = "KernelForge.Kernels.", Extension = ".ptx";

    private readonly string? _folder;
    private readonly Dictionary<string, string> _sources = new(StringComparer.Ordinal); // kernel file -> "sm_90a", the best one there is

    /// <param name="computeCapability">80 for 8.0.</param>
    /// <param name="folder">What goes before the resources, or null.</param>
    public KernelImages(int computeCapability, string? folder)
    {
        _folder = folder;
        Check.That(folder is null || Directory.Exists(folder), $"the folder of kernels '{folder}' does not exist");
        foreach ((string architecture, string name) in Resources().Concat(Files(folder)))
        {
            int rank = Rank(architecture, computeCapability);
            if (rank > 0 && (!_sources.TryGetValue(name, out string? other) || rank > Rank(other, computeCapability))) _sources[name] = architecture;
        }
        ComputeCapability = computeCapability;
    }

    /// <summary>Architectures of the resources, as sm_80.</summary>
    public static IReadOnlyList<string> BuiltInArchitectures => [.. Resources().Select(image => image.Architecture).Distinct().Order()];

    /// <summary>80 for 8.0.</summary>
    public int ComputeCapability { get; }

    /// <summary>Files of kernels that run on this capability.</summary>
    public IReadOnlyCollection<string> Names => _sources.Keys;

    /// <summary>The image of a file of kernels, ending in NUL; a resource is not copied.</summary>
    /// <param name="name">As "rms_norm".</param>
    /// <param name="source">Where it was found, for people.</param>
    /// <exception cref="CudaUnavailableException">There is none for this capability.</exception>
    public ReadOnlySpan<byte> Find(string name, out string source)
    {
        if (!_sources.TryGetValue(name, out string? architecture))
        {
            throw new CudaUnavailableException(
                $"there is no kernel file '{name}' for compute capability {ComputeCapability / 10}.{ComputeCapability % 10}; there are " +
                $"{(_sources.Count == 0 ? "none" : string.Join(", ", _sources.Keys.Order()))}. Build them with './build.sh kernels', or name a folder with " +
                $"them in {CudaDevice.KernelPathVariable}");
        }
        source = $"{architecture}/{name}{Extension}";
        if (_folder is not null && Path.Combine(_folder, architecture, name + Extension) is { } path && File.Exists(path))
        {
            source = path;
            return EndInNul(File.ReadAllBytes(path));
        }
        return Resource(architecture, name);
    }

    /// <summary>The image itself when it ends in NUL, else a copy that does.</summary>
    public static ReadOnlySpan<byte> EndInNul(ReadOnlySpan<byte> image) => image is [.., 0] ? image : (byte[])[.. image, 0];

    /// <summary>Which code runs better: 0 for not at all; code for exactly this capability ("a") above code for any from its own on.</summary>
    private static int Rank(string architecture, int computeCapability)
    {
        bool isExact = architecture.EndsWith('a');
        ReadOnlySpan<char> digits = architecture.AsSpan("sm_".Length).TrimEnd('a');
        if (!int.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out int capability)) return 0;
        return isExact ? (capability == computeCapability ? 2 * capability + 1 : 0) : (capability <= computeCapability ? 2 * capability : 0);
    }

    private static IEnumerable<(string Architecture, string Name)> Resources() =>
        from resource in typeof(KernelImages).Assembly.GetManifestResourceNames()
        where resource.StartsWith(Prefix, StringComparison.Ordinal) && resource.EndsWith(Extension, StringComparison.Ordinal)
        let parts = resource[Prefix.Length..^Extension.Length].Split('.', 2)
        where parts.Length == 2
        select (parts[0], parts[1]);

    private static IEnumerable<(string Architecture, string Name)> Files(string? folder) =>
        from architecture in folder is null ? [] : Directory.EnumerateDirectories(folder, "sm_*")
        from path in Directory.EnumerateFiles(architecture, "*" + Extension)
        select (Path.GetFileName(architecture), Path.GetFileNameWithoutExtension(path));

    private static ReadOnlySpan<byte> Resource(string architecture, string name)
    {
        using var stream = (UnmanagedMemoryStream)typeof(KernelImages).Assembly.GetManifestResourceStream($"{Prefix}{architecture}.{name}{Extension}")!;
        return EndInNul(new ReadOnlySpan<byte>(stream.PositionPointer, checked((int)stream.Length)));
    }
}
