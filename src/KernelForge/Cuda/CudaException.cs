namespace KernelForge;

/// <summary>A call of the CUDA driver failed. The message carries the call, the result and what was being done.</summary>
/// <param name="result">What the call returned.</param>
/// <param name="call">The call, as "cuLaunchKernel".</param>
/// <param name="message">All of it, for people.</param>
public sealed class CudaException(CUresult result, string call, string message) : Exception(message)
{
    /// <summary>What the call returned.</summary>
    public CUresult Result { get; } = result;

    /// <summary>The call that failed, as "cuLaunchKernel".</summary>
    public string Call { get; } = call;
}

/// <summary>There is no CUDA device to open. The message says why and what to do about it.</summary>
public sealed class CudaUnavailableException(string message, Exception? inner = null) : Exception(message, inner);
