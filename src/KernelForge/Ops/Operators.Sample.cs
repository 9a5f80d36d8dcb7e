using System.Runtime.InteropServices;

namespace KernelForge;

/// <summary>How the token of one row is drawn. The noise is a function of seed, position and token id only.</summary>
/// <param name="Seed">Of the sequence.</param>
/// <param name="Position">Absolute position of the token that is drawn.</param>
/// <param name="Temperature">Logits are divided by it; 0 takes the largest logit.</param>
/// <param name="TopK">Only the k most likely tokens (ties to the lower id); 0 for all.</param>
/// <param name="TopP">Only the most likely of these whose probabilities, after temperature and among what top-k leaves, just reach p; 1 for all.</param>
/// <param name="MinP">Only tokens at least this times as likely, after temperature, as the most likely one; 0 for all.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly record struct SamplingRow(ulong Seed, int Position, float Temperature, int TopK, float TopP, float MinP);

/// <summary>One change of one logit: l becomes (l > 0 ? l / Divisor : l · Divisor) + Offset.</summary>
/// <param name="Row">Row of the logits.</param>
/// <param name="Token">Column of the logits.</param>
/// <param name="Divisor">Repetition penalty; 1 for none.</param>
/// <param name="Offset">Presence and frequency penalty, bias; negative infinity forbids the token.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly record struct LogitAdjustment(int Row, int Token, float Divisor, float Offset);

public abstract partial class Operators
{
    /// <summary>Changes single logits in place: penalties, biases, forbidden tokens. No (row, token) twice.</summary>
    /// <param name="logits">F32 [rows, vocabulary], changed in place.</param>
    /// <param name="adjustments">Any number, in any order.</param>
    public void AdjustLogits(in DeviceMatrix logits, DeviceSpan<LogitAdjustment> adjustments)
    {
        CheckLogits("AdjustLogits", logits);
        CheckHere("AdjustLogits", adjustments.Device, adjustments.IsEmpty);
        if (!adjustments.IsEmpty) AdjustLogitsCore(logits, adjustments);
    }

    /// <summary>
    /// Draws a token for every row: the argmax of logit / temperature + Gumbel noise over the tokens that top-k, then top-p, then min-p leave. The
    /// noise comes from Philox keyed by (seed, position, token), so a token does not depend on the batch or on how many tokens a step computes. NaN
    /// logits count as negative infinity.
    /// </summary>
    /// <param name="logits">F32 [rows, vocabulary].</param>
    /// <param name="rows">[rows] how to draw.</param>
    /// <param name="result">[rows] token ids.</param>
    public void Sample(in DeviceMatrix logits, DeviceSpan<SamplingRow> rows, DeviceSpan<int> result)
    {
        CheckLogits("Sample", logits);
        CheckLength("Sample", "rows", rows, logits.Rows);
        CheckLength("Sample", "result", result, logits.Rows);
        if (logits.Rows > 0) SampleCore(logits, rows, result);
    }

    /// <summary>Log-probabilities (natural log of the softmax of the logits) of chosen tokens and of the most likely ones, most likely first.</summary>
    /// <param name="logits">F32 [rows, vocabulary].</param>
    /// <param name="chosen">[rows] token ids.</param>
    /// <param name="chosenLogProbs">[rows].</param>
    /// <param name="topTokens">[rows · top], row after row; ties to the lower id. Empty for none.</param>
    /// <param name="topLogProbs">[rows · top], as <paramref name="topTokens"/>.</param>
    public void LogProbs(
        in DeviceMatrix logits, DeviceSpan<int> chosen, DeviceSpan<float> chosenLogProbs, DeviceSpan<int> topTokens, DeviceSpan<float> topLogProbs)
    {
        CheckLogits("LogProbs", logits);
        CheckLength("LogProbs", "chosen", chosen, logits.Rows);
        CheckLength("LogProbs", "chosenLogProbs", chosenLogProbs, logits.Rows);
        CheckLength("LogProbs", "topLogProbs", topLogProbs, topTokens.Length);
        CheckHere("LogProbs", topTokens.Device, topTokens.IsEmpty);
        if (logits.Rows == 0) return;
        Check.That(topTokens.Length % logits.Rows == 0 && topTokens.Length / logits.Rows <= logits.Columns,
            $"LogProbs: room for {topTokens.Length} top tokens, expected {logits.Rows} times at most {logits.Columns}");
        LogProbsCore(logits, chosen, chosenLogProbs, topTokens, topLogProbs);
    }

    /// <summary>Computes <see cref="AdjustLogits"/> on checked arguments.</summary>
    protected abstract void AdjustLogitsCore(in DeviceMatrix logits, DeviceSpan<LogitAdjustment> adjustments);

    /// <summary>Computes <see cref="Sample"/> on checked arguments.</summary>
    protected abstract void SampleCore(in DeviceMatrix logits, DeviceSpan<SamplingRow> rows, DeviceSpan<int> result);

    /// <summary>Computes <see cref="LogProbs"/> on checked arguments.</summary>
    protected abstract void LogProbsCore(
        in DeviceMatrix logits, DeviceSpan<int> chosen, DeviceSpan<float> chosenLogProbs, DeviceSpan<int> topTokens, DeviceSpan<float> topLogProbs);

    private void CheckLogits(string operation, in DeviceMatrix logits)
    {
        CheckFloat(operation, "logits", logits);
        Check.That(logits.DType == DType.F32 && logits.Columns > 0, $"{operation}: logits is {logits}, expected F32[rows, vocabulary]");
    }
}
