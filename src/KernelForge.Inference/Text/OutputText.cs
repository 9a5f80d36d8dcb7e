namespace KernelForge.Inference;

/// <summary>The text of one sequence as it is generated: whole characters, cut at a stop string.</summary>
internal sealed class OutputText(ITokenizer tokenizer, SamplingOptions sampling)
{
    private readonly IncrementalDecoder _decoder = new(tokenizer);
    private readonly StopScanner _scanner = new(sampling.StopStrings, sampling.IncludeStopString);

    /// <summary>Whether a stop string has appeared; no text follows.</summary>
    public bool Stopped => _scanner.Stopped;

    /// <summary>Text that this token made certain. The first tokens up to the minimum cannot stop.</summary>
    public string Append(int tokenId, int outputIndex)
    {
        string piece = _decoder.Append(tokenId);
        return outputIndex >= sampling.MinTokens ? _scanner.Append(piece) : piece;
    }

    /// <summary>Text that was held back, when no token follows.</summary>
    public string Flush() => _scanner.Append(_decoder.Flush()) + _scanner.Flush();
}
