namespace KernelForge.Tests;

/// <summary>Whether a call allocates managed memory on the calling thread in steady state.</summary>
internal static class Garbage
{
    /// <summary>
    /// Three calls to warm up, then ten that allocate nothing. Two more tries: what a thread allocates once in its life, as the first time it has to wait, is not
    /// garbage of the call.
    /// </summary>
    public static void AssertNone(Action call)
    {
        for (int i = 0; i < 3; i++) call();
        long garbage = Measure(call);
        for (int tries = 1; tries < 3 && garbage > 0; tries++) garbage = Measure(call);
        Assert.Equal(0, garbage);
    }

    private static long Measure(Action call)
    {
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 10; i++) call();
        return GC.GetAllocatedBytesForCurrentThread() - before;
    }
}
