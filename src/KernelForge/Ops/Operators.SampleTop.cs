namespace KernelForge;

public abstract partial class Operators
{
    /// <summary>
    /// The tokens with the largest logit / temperature + Gumbel noise of every row, best first, over the tokens that the filters of <see cref="Sample"/> leave. The
    /// first is the token that <see cref="Sample"/> draws, the next the one it would draw were the first forbidden, and so on (sampling without
    /// replacement, arXiv:1903.06059). At temperature 0 the largest logits, ties to the lower id, without filters.
    /// </summary>
    /// <param name="logits">F32 [rows, vocabulary].</param>
    /// <param name="rows">[rows] how to draw.</param>
    /// <param name="result">[rows · count], row after row, with a count of 1 to the size of the vocabulary. -1 where no token is left.</param>
    public void SampleTop(in DeviceMatrix logits, DeviceSpan<SamplingRow> rows, DeviceSpan<int> result)
    {
        CheckLogits("SampleTop", logits);
        CheckLength("SampleTop", "rows", rows, logits.Rows);
        CheckHere("SampleTop", result.Device, result.IsEmpty);
        if (logits.Rows == 0) return;
        Check.That(!result.IsEmpty && result.Length % logits.Rows == 0 && result.Length / logits.Rows <= logits.Columns,
            $"SampleTop: room for {result.Length} tokens, expected {logits.Rows} times 1 to {logits.Columns}");
        SampleTopCore(logits, rows, result);
    }

    /// <summary>Computes <see cref="SampleTop"/> on checked arguments.</summary>
    protected abstract void SampleTopCore(in DeviceMatrix logits, DeviceSpan<SamplingRow> rows, DeviceSpan<int> result);
}
