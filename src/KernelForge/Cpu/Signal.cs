using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KernelForge.Cpu;

/// <summary>
/// Lets one thread wait until another calls <see cref="Set"/>. The waiting thread looks for some microseconds, then offers its core to others between looks, and after a
/// millisecond sleeps. Where others took the offer the last time it is made at once: the thread that is waited for may need this core. Unlike
/// <see cref="ManualResetEventSlim"/> it never allocates.
/// </summary>
/// <param name="looks">Looks of about 30 ns each before the core is offered to others: 0 where there are more threads than cores.</param>
internal sealed class Signal(int looks)
{
    private const int Clear = 0, IsSet = 1, IsAsleep = 2;

    private static readonly long SleepAfter = Stopwatch.Frequency / 1_000;
    private static readonly long OthersRan = Stopwatch.Frequency / 500_000; // a yield to nobody takes half a microsecond

    private readonly object _bed = new();
    private PaddedState _state;
    private bool _sharesCore; // another thread ran while this one waited last: perhaps the one that it waits for

    /// <summary>Waits for <see cref="Set"/> and takes it back, so that the next call waits for the next one.</summary>
    public void Wait()
    {
        if (!Look() && !LookBetweenOthers()) Sleep();
        Volatile.Write(ref _state.Value, Clear);
    }

    /// <summary>Lets the waiting thread, or the next one to wait, go on. It sees what was written before.</summary>
    public void Set()
    {
        if (Interlocked.Exchange(ref _state.Value, IsSet) != IsAsleep) return;
        lock (_bed) Monitor.Pulse(_bed);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private bool Look()
    {
        for (int look = _sharesCore ? looks : 0; look < looks; look++)
        {
            if (Volatile.Read(ref _state.Value) == IsSet) return true;
            Thread.SpinWait(1);
        }

        return false;
    }

    private bool LookBetweenOthers()
    {
        long start = Stopwatch.GetTimestamp(), last = start;
        _sharesCore = false;
        while (Volatile.Read(ref _state.Value) != IsSet)
        {
            if (last - start > SleepAfter) return false;
            Thread.Yield();
            long now = Stopwatch.GetTimestamp();
            _sharesCore |= now - last > OthersRan;
            last = now;
        }

        return true;
    }

    private void Sleep()
    {
        lock (_bed)
        {
            // Whoever finds this thread asleep has to take the lock, and gets it when this thread waits.
            if (Interlocked.CompareExchange(ref _state.Value, IsAsleep, Clear) == IsSet) return;
            while (Volatile.Read(ref _state.Value) != IsSet) Monitor.Wait(_bed);
        }
    }

    /// <summary>Alone on its cache lines and on those that a processor fetches beside them: a neighbour that is written would slow the looks down.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 256)]
    private struct PaddedState
    {
        [FieldOffset(128)]
        public int Value;
    }
}
