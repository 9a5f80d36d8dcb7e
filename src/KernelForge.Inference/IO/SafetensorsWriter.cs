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
/// is whole, whatever ended the process. It is written in aligned blocks, so that the system keeps what it caches of it in large pages.
/// </summary>
public sealed class SafetensorsWriter : IDisposable
{
    private const string PartialSuffix = ".partial";
    private const int BlockBytes = 8 << 20, PrefixLength = 8, DataAlignment = 64; // a line of the cache

    private static readonly Dictionary<string, string> Standard = new() { ["format"] = "pt" }; // what transformers asks for

    private readonly string _path;
    private readonly FileStream _file;
    private readonly long _length;
    private readonly byte[] _block = new byte[BlockBytes];
    private int _filled;
    private long _position;
    private bool _isComplete;

    /// <summary>Starts a file, replacing what an earlier attempt left.</summary>
    /// <param name="path">Where the file will be.</param>
    /// <param name="tensors">All tensors, in the order in which their bytes will come.</param>
    /// <param name="metadata">What the file says of itself, text by name.</param>
    /// <exception cref="ArgumentException">A name comes twice.</exception>
    public SafetensorsWriter(string path, IReadOnlyList<SafetensorsTensor> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        byte[] header = HeaderOf(tensors, metadata ?? Standard);
        _path = path;
        _length = PrefixLength + header.Length + tensors.Sum(tensor => tensor.Length);
        _file = new FileStream(path + PartialSuffix, FileMode.Create, FileAccess.Write, FileShare.Read, bufferSize: 0);
        try
        {
            Span<byte> prefix = stackalloc byte[PrefixLength];
            BinaryPrimitives.WriteUInt64LittleEndian(prefix, (ulong)header.Length);
            Put(prefix);
            Put(header);
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
        if (_position + bytes.Length > _length)
            throw new InvalidOperationException($"{_path}: {_position + bytes.Length} bytes written, its tensors have {_length} with their table.");
        Put(bytes);
    }

    /// <summary>All bytes are there: they go to the disk and the file gets its name.</summary>
    /// <exception cref="InvalidOperationException">They are not.</exception>
    public void Complete()
    {
        if (_position != _length) throw new InvalidOperationException($"{_path}: {_position} bytes written, its tensors have {_length} with their table.");
        _file.Write(_block.AsSpan(0, _filled));
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

    private void Put(ReadOnlySpan<byte> bytes)
    {
        _position += bytes.Length;
        while (bytes.Length > 0)
        {
            int count = Math.Min(bytes.Length, BlockBytes - _filled);
            bytes[..count].CopyTo(_block.AsSpan(_filled));
            bytes = bytes[count..];
            _filled += count;
            if (_filled < BlockBytes) continue;
            _file.Write(_block);
            _filled = 0;
        }
    }

    /// <summary>The table, padded with spaces so that the bytes after it are aligned.</summary>
    private static byte[] HeaderOf(IReadOnlyList<SafetensorsTensor> tensors, IReadOnlyDictionary<string, string> metadata)
    {
        var text = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(text))
        {
            HashSet<string> names = [];
            long end = 0;
            json.WriteStartObject();
            json.WriteStartObject(SafetensorsFile.MetadataName);
            foreach ((string name, string value) in metadata) json.WriteString(name, value);
            json.WriteEndObject();
            foreach (SafetensorsTensor tensor in tensors)
            {
                if (!names.Add(tensor.Name)) throw new ArgumentException($"SafetensorsWriter: tensor {tensor.Name} comes twice.");
                Write(json, tensor, end);
                end += tensor.Length;
            }
            json.WriteEndObject();
        }
        int length = (PrefixLength + text.WrittenCount + DataAlignment - 1) / DataAlignment * DataAlignment - PrefixLength;
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
