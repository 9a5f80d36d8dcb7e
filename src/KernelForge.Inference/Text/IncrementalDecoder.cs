using System.Buffers;
using System.Text;

namespace KernelForge.Inference;

/// <summary>
/// Turns token ids into text one at a time: each piece holds whole characters only, and all pieces together are what
/// <see cref="ITokenizer.Decode"/> returns for all ids. Not safe to share between threads.
/// </summary>
/// <param name="tokenizer">Spells the tokens.</param>
/// <param name="skipSpecialTokens">Leaves out tokens that control the model.</param>
/// <param name="continuesText">The ids continue a text, so that a leading space is kept whatever the tokenizer strips.</param>
public sealed class IncrementalDecoder(ITokenizer tokenizer, bool skipSpecialTokens = true, bool continuesText = false)
{
    private byte[] _pending = new byte[32];
    private int _pendingCount;
    private bool _atStart = !continuesText && tokenizer.StripsLeadingSpace;

    /// <summary>Takes the next token and returns the text that it made certain, often all of its own and sometimes none.</summary>
    public string Append(int tokenId)
    {
        if (skipSpecialTokens && tokenizer.IsSpecial(tokenId)) return "";
        ReadOnlySpan<byte> bytes = tokenizer.BytesOf(tokenId);
        if (bytes.IsEmpty) return "";
        if (_atStart)
        {
            _atStart = false;
            if (bytes[0] == ' ') bytes = bytes[1..];
        }
        if (_pendingCount + bytes.Length > _pending.Length) Array.Resize(ref _pending, Math.Max(_pending.Length * 2, _pendingCount + bytes.Length));
        bytes.CopyTo(_pending.AsSpan(_pendingCount));
        _pendingCount += bytes.Length;
        return Take(CertainLength(_pending.AsSpan(0, _pendingCount)));
    }

    /// <summary>Returns what is left when no token follows: U+FFFD for an incomplete character, or nothing.</summary>
    public string Flush() => Take(_pendingCount);

    private string Take(int length)
    {
        if (length == 0) return "";
        string text = Encoding.UTF8.GetString(_pending, 0, length);
        _pending.AsSpan(length, _pendingCount - length).CopyTo(_pending);
        _pendingCount -= length;
        return text;
    }

    /// <summary>Bytes before a last character that further bytes could complete.</summary>
    private static int CertainLength(ReadOnlySpan<byte> bytes)
    {
        for (int tail = 1; tail <= Math.Min(3, bytes.Length); tail++)
        {
            if (Rune.DecodeFromUtf8(bytes[^tail..], out _, out int consumed) == OperationStatus.NeedMoreData && consumed == tail)
                return bytes.Length - tail;
        }
        return bytes.Length;
    }
}
