namespace KernelForge.Cli;

/// <summary>
/// Writes answers in input order, each with its newline in one write as soon as all earlier ones are there. When a write fails, what it
/// left of the line is cut off again.
/// </summary>
/// <param name="output">Written at its position; not closed.</param>
/// <param name="name">Of the output, for complaints.</param>
/// <param name="first">Place of the first answer to write.</param>
internal sealed class AnswerWriter(Stream output, string name, int first = 0)
{
    private readonly Dictionary<int, byte[]> _early = [];

    /// <summary>Place of the next answer to write.</summary>
    public int Next { get; private set; } = first;

    /// <summary>Takes a line of JSON without its newline, and writes it if its turn has come.</summary>
    public void Add(int index, ReadOnlySpan<byte> line)
    {
        if (index < Next || _early.ContainsKey(index)) throw new ArgumentException($"AnswerWriter.Add: answer {index} comes twice.", nameof(index));

        _early.Add(index, [.. line, (byte)'\n']);
        while (_early.Remove(Next, out byte[]? bytes))
        {
            Write(bytes);
            Next++;
        }
    }

    private void Write(byte[] bytes)
    {
        long start = output.CanSeek ? output.Position : 0;
        try
        {
            output.Write(bytes);
            output.Flush();
        }
        catch (IOException error)
        {
            TryCut(start);
            string rest = output.CanSeek ? "; what is there is complete, and --resume goes on" : "";
            throw new CommandException($"Writing {name} failed after {Next} answers ({error.Message.TrimEnd('.')}){rest}.");
        }
    }

    /// <summary>A device that is full may refuse this too; then --resume cuts the half line.</summary>
    private void TryCut(long length)
    {
        try
        {
            if (output.CanSeek) output.SetLength(length);
        }
        catch (IOException)
        {
        }
    }
}
