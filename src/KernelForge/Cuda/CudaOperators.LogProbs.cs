using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Arguments of log_probs_*; the same fields in the same order as in log_probs.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct LogProbsArgs(
    nint Logits, nint Chosen, nint ChosenLogProbs, nint TopTokens, nint TopLogProbs, int Columns, int Stride, int Top);

internal sealed partial class CudaOperators
{
    private const int LogProbsThreads = 256; // THREADS in log_probs.cu

    protected override void LogProbsCore(
        in DeviceMatrix logits, DeviceSpan<int> chosen, DeviceSpan<float> chosenLogProbs, DeviceSpan<int> topTokens, DeviceSpan<float> topLogProbs)
    {
        CheckVocabulary("LogProbs", logits);
        var args = new LogProbsArgs(
            logits.Address, chosen.Address, chosenLogProbs.Address, topTokens.Address, topLogProbs.Address,
            logits.Columns, logits.RowStride, topTokens.Length / logits.Rows);
        Kernel("log_probs", DType.F32).Launch(grid: logits.Rows, block: LogProbsThreads, args);
    }
}
