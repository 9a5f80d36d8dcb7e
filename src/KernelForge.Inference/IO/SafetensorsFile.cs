using System.Buffers.Binary;
using System.Text.Json;

namespace KernelForge.Inference;

/// <summary>One tensor of a safetensors file.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Type">Element type as the file names it, such as BF16.</param>
/// <param name="Shape">Dimensions, outermost first.</param>
/// <param name="Offset">First byte, from the start of the file.</param>
/// <param name="Length">Bytes.</param>
public sealed record SafetensorsEntry(string Name, string Type, IReadOnlyList<long> Shape, long Offset, long Length);

/// <summary>A memory-mapped safetensors file: a table of tensors and their bytes. Opening checks that the table fits the file.</summary>
public sealed class SafetensorsFile : IDisposable
{
    internal const string MetadataName = "__metadata__";

    private const int PrefixLength = 8;
    private const long MaxHeaderLength = 100_000_000;

    private readonly MappedFile _file;
    private readonly Dictionary<string, SafetensorsEntry> _tensors = [];
    private readonly Dictionary<string, string> _metadata = [];

    /// <summary>Opens a file and reads its table of tensors.</summary>
    /// <exception cref="ModelFormatException">The file is missing, truncated or inconsistent.</exception>
    public SafetensorsFile(string path)
    {
        if (!File.Exists(path)) throw new ModelFormatException($"{path} does not exist.");
        _file = new MappedFile(path);
        try
        {
            ReadHeader();
        }
        catch
        {
            _file.Dispose();
            throw;
        }
    }

    /// <summary>Path of the file.</summary>
    public string Path => _file.Path;

    /// <summary>The tensors by name.</summary>
    public IReadOnlyDictionary<string, SafetensorsEntry> Tensors => _tensors;

    /// <summary>What the file says of itself, text by name.</summary>
    public IReadOnlyDictionary<string, string> Metadata => _metadata;

    /// <summary>The tensor as memory of a CPU device: the mapped file itself, valid until this file is disposed.</summary>
    /// <exception cref="ModelFormatException">The element type is none of F32, F16, BF16.</exception>
    /// <exception cref="ArgumentException">The device has memory of its own.</exception>
    public DeviceBuffer Load(Device device, SafetensorsEntry tensor)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(tensor);
        return Map(device, tensor, TypeOf(tensor));
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    /// <summary>The tensor as memory of a CPU device whose elements have that type.</summary>
    internal DeviceBuffer Map(Device device, SafetensorsEntry tensor, DType type) => _file.AsBuffer(device, tensor.Offset, type, tensor.Length / type.Size());

    /// <summary>Element type of a tensor; throws <see cref="ModelFormatException"/> when it is none of F32, F16, BF16.</summary>
    internal DType TypeOf(SafetensorsEntry tensor) => tensor.Type switch
    {
        "F32" => DType.F32,
        "F16" => DType.F16,
        "BF16" => DType.BF16,
        _ => throw new ModelFormatException($"{Path}: tensor {tensor.Name} is {tensor.Type}; supported are F32, F16 and BF16."),
    };

    /// <summary>Bytes start .. start + length - 1 of a tensor.</summary>
    internal ReadOnlySpan<byte> Bytes(SafetensorsEntry tensor, long start, int length) => _file.Bytes(tensor.Offset + start, length);

    /// <summary>A tensor is not needed soon: its pages may leave this process, and are loaded again when they are touched.</summary>
    internal void Release(SafetensorsEntry tensor) => _file.Release(tensor.Offset, tensor.Length);

    private void ReadHeader()
    {
        if (_file.Length < PrefixLength) throw Damaged($"is {_file.Length} bytes long, too short for a safetensors file");
        ulong headerLength = BinaryPrimitives.ReadUInt64LittleEndian(_file.Bytes(0, PrefixLength));
        if (headerLength > MaxHeaderLength) throw Damaged($"is no safetensors file: it claims a header of {headerLength} bytes");
        if ((long)headerLength > _file.Length - PrefixLength)
            throw Damaged($"is truncated: it is {_file.Length} bytes long and its header alone needs {PrefixLength + headerLength}");

        try
        {
            var reader = new Utf8JsonReader(_file.Bytes(PrefixLength, (int)headerLength));
            using JsonDocument header = JsonDocument.ParseValue(ref reader);
            foreach (JsonProperty property in header.RootElement.EnumerateObject())
            {
                if (property.Name != MetadataName) Add(property, PrefixLength + (long)headerLength);
                else foreach (JsonProperty text in property.Value.EnumerateObject()) _metadata[text.Name] = text.Value.GetString() ?? "";
            }
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException or KeyNotFoundException or FormatException or OverflowException)
        {
            throw new ModelFormatException($"{Path}: the header is no valid safetensors table ({error.Message})", error);
        }
    }

    private void Add(JsonProperty property, long dataStart)
    {
        string type = property.Value.GetProperty("dtype").GetString()!;
        long[] shape = [.. property.Value.GetProperty("shape").EnumerateArray().Select(dimension => dimension.GetInt64())];
        long[] offsets = [.. property.Value.GetProperty("data_offsets").EnumerateArray().Select(offset => offset.GetInt64())];
        if (offsets.Length != 2) throw new FormatException($"data_offsets of {property.Name} has {offsets.Length} numbers, expected 2");
        (long begin, long end) = (offsets[0], offsets[1]);

        if (begin < 0 || end < begin) throw Damaged($"is inconsistent: tensor {property.Name} goes from byte {begin} to {end}");
        if (dataStart + end > _file.Length)
            throw Damaged($"is truncated: it is {_file.Length} bytes long and tensor {property.Name} ends at {dataStart + end}");
        if (BitsOf(type) is { } bits && shape.Aggregate(1L, (product, dimension) => checked(product * dimension)) * bits != (end - begin) * 8)
            throw Damaged($"is inconsistent: tensor {property.Name} is {type}[{string.Join(", ", shape)}] in {end - begin} bytes");
        if (!_tensors.TryAdd(property.Name, new SafetensorsEntry(property.Name, type, shape, dataStart + begin, end - begin)))
            throw Damaged($"is inconsistent: tensor {property.Name} is there twice");
    }

    private static int? BitsOf(string type) => type switch
    {
        "F64" or "I64" or "U64" => 64,
        "F32" or "I32" or "U32" => 32,
        "F16" or "BF16" or "I16" or "U16" => 16,
        "F8_E4M3" or "F8_E5M2" or "I8" or "U8" or "BOOL" => 8,
        _ => null,
    };

    private ModelFormatException Damaged(string what) => new($"{Path} {what}.");
}
