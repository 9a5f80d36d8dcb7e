namespace KernelForge.Inference;

/// <summary>When the mark of a word start is put before a text that does not begin with one.</summary>
internal enum PrefixScheme { Never, First, Always }

/// <summary>Rewrites a text before it is searched for words.</summary>
internal delegate string Normalizer(string text);

/// <summary>Rewrites the spaces of a normalised text and cuts it into words.</summary>
/// <param name="Next">Finds the end of a word.</param>
/// <param name="Mark">What a space is written as; a space where they stay.</param>
/// <param name="Prefix">Whether a text gets a mark before it.</param>
internal sealed record PreTokenizer(WordScanner Next, char Mark = ' ', PrefixScheme Prefix = PrefixScheme.Never)
{
    /// <summary>Applies mark and prefix. <paramref name="atStart"/> says that the piece begins the whole text.</summary>
    public string Prepare(string piece, bool atStart)
    {
        string marked = Mark == ' ' ? piece : piece.Replace(' ', Mark);
        bool prefixed = Prefix == PrefixScheme.Always || (Prefix == PrefixScheme.First && atStart);
        return prefixed && !marked.StartsWith(Mark) ? Mark + marked : marked;
    }
}

/// <summary>How ids become bytes.</summary>
/// <param name="IsByteLevel">Tokens are written in the byte alphabet.</param>
/// <param name="SpaceMark">The character that stands for a space, or null.</param>
/// <param name="ByteFallback">Tokens such as &lt;0x0A&gt; stand for one byte.</param>
/// <param name="StripsLeadingSpace">The first space of a decoded text is dropped.</param>
internal sealed record TokenDecoder(bool IsByteLevel, char? SpaceMark = null, bool ByteFallback = false, bool StripsLeadingSpace = false);
