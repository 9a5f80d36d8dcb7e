using System.Buffers;
using System.Buffers.Binary;
using System.Text.Json;

namespace KernelForge.Inference;

/// <summary>A tensor that will be written.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Type">Element type as the file names it, such as BF16.</param>
/// <param name="Shape">Dimensions, outermost first.</param>
/// <param name="Length">Bytes.</param>
public sealed record SafetensorsTensor(string Name, string Type, IReadOnlyList<long> Shape, long Length);

/// <summary>
/// Writes a safetensors file from first byte to last, tensor after tensor. Until <see cref="Complete"/> it has another name, so a file under its own name
/// is whole, whatever ended the process.
/// </summary>
public sealed class SafetensorsWriter : IDisposable
{
    private const string PartialSuffix = ".partial";
    private const int PrefixLength = 8, DataAlignment = 8;

    private readonly string _path;
    private readonly FileStream _file;
    private readonly long _length;
    private bool _isComplete;

    /// <summary>Starts a file, replacing what an earlier attempt left.</summary>
    /// <param name="path">Where the file will be.</param>
    /// <param name="tensors">All tensors, in the order in which their bytes will come.</param>
    /// <exception cref="ArgumentException">A name comes twice.</exception>
    public SafetensorsWriter(string path, IReadOnlyList<SafetensorsTensor> tensors)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        byte[] header = HeaderOf(tensors);
        _path = path;
        _length = PrefixLength + header.Length + tensors.Sum(tensor => tensor.Length);
        _file = new FileStream(path + PartialSuffix, FileMode.Create, FileAccess.Write, FileShare.Read, bufferSize: 1 << 20);
        try
        {
            Span<byte> prefix = stackalloc byte[PrefixLength];
            BinaryPrimitives.WriteUInt64LittleEndian(prefix, (ulong)header.Length);
            _file.Write(prefix);
            _file.Write(header);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The next bytes.</summary>
    /// <exception cref="InvalidOperationException">They are more than the tensors have.</exception>
    public void Write(ReadOnlySpan<byte> bytes)
    {
        if (_file.Position + bytes.Length > _length)
            throw new InvalidOperationException($"{_path}: {_file.Position + bytes.Length} bytes written, its tensors have {_length} with their table.");
        _file.Write(bytes);
    }

    /// <summary>All bytes are there: they go to the disk and the file gets its name.</summary>
    /// <exception cref="InvalidOperationException">They are not.</exception>
    public void Complete()
    {
        if (_file.Position != _length) throw new InvalidOperationException($"{_path}: {_file.Position} bytes written, its tensors have {_length} with their table.");
        _file.Flush(flushToDisk: true);
        _file.Dispose();
        File.Move(_path + PartialSuffix, _path, overwrite: true);
        _isComplete = true;
    }

    /// <summary>Closes the file; an incomplete one is removed.</summary>
    public void Dispose()
    {
        _file.Dispose();
        if (!_isComplete) File.Delete(_path + PartialSuffix);
    }

    /// <summary>The table, padded with spaces so that the bytes after it are aligned.</summary>
    private static byte[] HeaderOf(IReadOnlyList<SafetensorsTensor> tensors)
    {
        var text = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(text))
        {
            HashSet<string> names = [];
            long end = 0;
            json.WriteStartObject();
            json.WriteStartObject("__metadata__");
            json.WriteString("format", "pt"); // what transformers asks for
            json.WriteEndObject();
            foreach (SafetensorsTensor tensor in tensors)
            {
                if (!names.Add(tensor.Name)) throw new ArgumentException($"SafetensorsWriter: tensor {tensor.Name} comes twice.");
                Write(json, tensor, end);
                end += tensor.Length;
            }
            json.WriteEndObject();
        }
        int length = (text.WrittenCount + DataAlignment - 1) / DataAlignment * DataAlignment;
        var header = new byte[length];
        text.WrittenSpan.CopyTo(header);
        header.AsSpan(text.WrittenCount).Fill((byte)' ');
        return header;
    }

    private static void Write(Utf8JsonWriter json, SafetensorsTensor tensor, long start)
    {
        json.WriteStartObject(tensor.Name);
        json.WriteString("dtype", tensor.Type);
        json.WriteStartArray("shape");
        foreach (long dimension in tensor.Shape) json.WriteNumberValue(dimension);
        json.WriteEndArray();
        json.WriteStartArray("data_offsets");
        json.WriteNumberValue(start);
        json.WriteNumberValue(start + tensor.Length);
        json.WriteEndArray();
        json.WriteEndObject();
    }
}
