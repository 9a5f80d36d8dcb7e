namespace KernelForge.Inference;

/// <summary>One line of a file of JSON values.</summary>
/// <param name="Number">From 1; blank lines count.</param>
/// <param name="Offset">First byte, from where reading started.</param>
/// <param name="Bytes">The line without its newline.</param>
/// <param name="IsComplete">Whether a newline ends it; only the last line may have none.</param>
public readonly record struct JsonLine(int Number, long Offset, ReadOnlyMemory<byte> Bytes, bool IsComplete)
{
    /// <summary>Offset of the byte after the line and its newline.</summary>
    public long End => Offset + Bytes.Length + (IsComplete ? 1 : 0);
}

/// <summary>Reads files with one JSON value on each line.</summary>
public static class JsonLines
{
    private const int BufferLength = 1 << 16;
    private const byte NewLine = (byte)'\n';

    /// <summary>
    /// Reads a stream line by line as bytes; the values are not looked at. Lines of white space only are skipped when they end with a
    /// newline, and so is a byte order mark.
    /// </summary>
    public static IEnumerable<JsonLine> Read(Stream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        byte[] buffer = new byte[BufferLength];
        int filled = 0, number = 1;
        long offset = 0;
        while (true)
        {
            if (filled == buffer.Length) Array.Resize(ref buffer, 2 * filled);
            int count = stream.Read(buffer, filled, buffer.Length - filled);
            if (count == 0) break;

            int start = 0, searched = filled;
            filled += count;
            for (int end; (end = Array.IndexOf(buffer, NewLine, searched, filled - searched)) >= 0; start = searched = end + 1)
            {
                JsonLine line = LineAt(buffer, start, end, number++, offset + start, isComplete: true);
                if (!IsBlank(line.Bytes.Span)) yield return line;
            }
            offset += start;
            filled -= start;
            Buffer.BlockCopy(buffer, start, buffer, 0, filled);
        }
        if (filled > 0) yield return LineAt(buffer, 0, filled, number, offset, isComplete: false);
    }

    /// <summary>Whether a line has nothing but white space.</summary>
    public static bool IsBlank(ReadOnlySpan<byte> line) => line.Trim(" \t\r"u8).IsEmpty;

    private static JsonLine LineAt(byte[] buffer, int start, int end, int number, long offset, bool isComplete)
    {
        int mark = offset == 0 && buffer.AsSpan(start, end - start).StartsWith("\uFEFF"u8) ? 3 : 0;
        return new JsonLine(number, offset + mark, buffer.AsSpan((start + mark)..end).ToArray(), isComplete);
    }
}
