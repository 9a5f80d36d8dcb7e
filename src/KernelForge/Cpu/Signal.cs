namespace KernelForge.Cpu;

/// <summary>
/// Lets one thread wait until another calls <see cref="Set"/>. The waiting thread looks for about a millisecond, offering its core to others, and then sleeps.
/// Unlike <see cref="ManualResetEventSlim"/> it never allocates.
/// </summary>
internal sealed class Signal
{
    private const int SpinsBeforeSleep = 2_000;

    private readonly object _bed = new();
    private volatile bool _isSet;
    private volatile bool _isAsleep;

    /// <summary>Waits for <see cref="Set"/> and takes it back, so that the next call waits for the next one.</summary>
    public void Wait()
    {
        var spinner = new SpinWait();
        while (!_isSet && spinner.Count < SpinsBeforeSleep) spinner.SpinOnce(sleep1Threshold: -1);
        if (!_isSet) Sleep();
        _isSet = false;
    }

    public void Set()
    {
        _isSet = true;
        Interlocked.MemoryBarrier(); // either this thread sees the sleeper, or the sleeper sees that it is set
        if (!_isAsleep) return;
        lock (_bed) Monitor.Pulse(_bed);
    }

    private void Sleep()
    {
        lock (_bed)
        {
            _isAsleep = true;
            Interlocked.MemoryBarrier();
            while (!_isSet) Monitor.Wait(_bed);
            _isAsleep = false;
        }
    }
}
