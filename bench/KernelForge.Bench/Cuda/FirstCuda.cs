namespace KernelForge.Bench;

/// <summary>The first CUDA device of the machine.</summary>
internal static class FirstCuda
{
    private static readonly Lazy<string?> Missing = new(WhyNot);

    /// <summary>Why there is none; null when there is one.</summary>
    public static string? WhyMissing => Missing.Value;

    private static string? WhyNot()
    {
        try
        {
            using Device device = Device.OpenCuda();
            return null;
        }
        catch (CudaUnavailableException error)
        {
            return error.Message;
        }
    }
}
