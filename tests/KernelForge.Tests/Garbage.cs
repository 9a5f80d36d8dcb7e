namespace KernelForge.Tests;

/// <summary>Whether a call allocates managed memory on the calling thread in steady state.</summary>
internal static class Garbage
{
    /// <summary>Three calls to warm up, then ten that allocate nothing.</summary>
    public static void AssertNone(Action call)
    {
        for (int i = 0; i < 3; i++) call();
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 10; i++) call();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }
}
