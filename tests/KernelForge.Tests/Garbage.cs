namespace KernelForge.Tests;

/// <summary>Whether a call allocates managed memory on the calling thread in steady state.</summary>
internal static class Garbage
{
    /// <summary>Three calls to warm up, then ten that allocate nothing.</summary>
    /// <remarks>A collection that other tests cause while the calls run disturbs the thread's count, so one undisturbed round of several is enough.</remarks>
    public static void AssertNone(Action call)
    {
        for (int i = 0; i < 3; i++) call();
        var rounds = new long[5];
        for (int round = 0; round < rounds.Length; round++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < 10; i++) call();
            rounds[round] = GC.GetAllocatedBytesForCurrentThread() - before;
        }
        Assert.Contains(0, rounds);
    }
}
