namespace KernelForge.Cpu;

/// <summary>
/// Lets one thread wait until another calls <see cref="Set"/>. The waiting thread looks for about a millisecond, offering its core to others, and then sleeps.
/// Unlike <see cref="ManualResetEventSlim"/> it never allocates.
/// </summary>
internal sealed class Signal
{
    private const int SpinsBeforeSleep = 2_000;

    private readonly object bed = new();
    private volatile bool isSet;
    private volatile bool isAsleep;

    /// <summary>Waits for <see cref="Set"/> and takes it back, so that the next call waits for the next one.</summary>
    public void Wait()
    {
        var spinner = new SpinWait();
        while (!isSet && spinner.Count < SpinsBeforeSleep) spinner.SpinOnce(sleep1Threshold: -1);
        if (!isSet) Sleep();
        isSet = false;
    }

    public void Set()
    {
        isSet = true;
        Interlocked.MemoryBarrier(); // either this thread sees the sleeper, or the sleeper sees that it is set
        if (!isAsleep) return;
        lock (bed) Monitor.Pulse(bed);
    }

    private void Sleep()
    {
        lock (bed)
        {
            isAsleep = true;
            Interlocked.MemoryBarrier();
            while (!isSet) Monitor.Wait(bed);
            isAsleep = false;
        }
    }
}
