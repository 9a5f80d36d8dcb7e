using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KernelForge.Cpu;

/// <summary>Work that can be cut into parts, each done by one thread.</summary>
internal interface IParallelWork
{
    /// <summary>Does part number <paramref name="part"/> of <paramref name="parts"/>.</summary>
    void Run(int part, int parts);
}

/// <summary>
/// A fixed set of threads; the calling thread is one of them. Which thread does a part never changes a result: every output
/// element is computed whole within one part.
/// </summary>
internal sealed unsafe class CpuThreads : IDisposable
{
    private const int SpinsBeforeSleep = 2_000;
    private const int ScratchAlignment = 64;

    private readonly Lock gate = new();
    private readonly Thread[] workers;
    private readonly ManualResetEventSlim[] wakes;
    private readonly nint[] scratch;
    private readonly long[] scratchBytes;
    private delegate*<void*, int, int, void> body;
    private void* state;
    private int parts;
    private int remaining;
    private Exception? failure;
    private volatile bool stopping;

    public CpuThreads(int count)
    {
        Count = count;
        scratch = new nint[count];
        scratchBytes = new long[count];
        workers = new Thread[count - 1];
        wakes = new ManualResetEventSlim[count - 1];
        for (int i = 0; i < workers.Length; i++)
        {
            int worker = i;
            wakes[i] = new ManualResetEventSlim(false, SpinsBeforeSleep);
            workers[i] = new Thread(() => Loop(worker)) { IsBackground = true, Name = $"KernelForge CPU {i + 1}" };
            workers[i].Start();
        }
    }

    public int Count { get; }

    /// <summary>
    /// Runs <paramref name="work"/> in at most <paramref name="maxParts"/> parts and returns when all are done. Callers on other threads wait for each other.
    /// </summary>
    public void Run<TWork>(ref TWork work, int maxParts) where TWork : struct, IParallelWork
    {
        int wanted = Math.Min(maxParts, Count);
        lock (gate)
        {
            if (wanted <= 1) work.Run(0, 1);
            else RunShared(ref work, wanted);
        }
    }

    /// <summary>
    /// Memory that <paramref name="part"/> of the running work has for itself: at least <paramref name="bytes"/> bytes, aligned to a cache line, not cleared.
    /// The same memory serves one work after the other.
    /// </summary>
    public void* Scratch(int part, long bytes)
    {
        if (bytes > scratchBytes[part])
        {
            NativeMemory.AlignedFree((void*)scratch[part]);
            (scratch[part], scratchBytes[part]) = (0, 0);
            scratch[part] = (nint)NativeMemory.AlignedAlloc((nuint)bytes, ScratchAlignment);
            scratchBytes[part] = bytes;
        }
        return (void*)scratch[part];
    }

    public void Dispose()
    {
        stopping = true;
        foreach (ManualResetEventSlim wake in wakes) wake.Set();
        foreach (Thread worker in workers) worker.Join();
        foreach (ManualResetEventSlim wake in wakes) wake.Dispose();
        foreach (nint memory in scratch) NativeMemory.AlignedFree((void*)memory);
        Array.Clear(scratch);
        Array.Clear(scratchBytes);
    }

    private void RunShared<TWork>(ref TWork work, int wanted) where TWork : struct, IParallelWork
    {
        body = &Invoke<TWork>;
        state = Unsafe.AsPointer(ref work); // a local or field of the caller that outlives this call
        parts = wanted;
        Volatile.Write(ref remaining, wanted - 1);
        for (int i = 0; i < wanted - 1; i++) wakes[i].Set();
        RunPart(wanted - 1);

        var spinner = new SpinWait();
        while (Volatile.Read(ref remaining) > 0) spinner.SpinOnce(sleep1Threshold: -1);
        if (Interlocked.Exchange(ref failure, null) is { } error) throw new AggregateException(error);
    }

    private static void Invoke<TWork>(void* state, int part, int parts) where TWork : struct, IParallelWork =>
        Unsafe.AsRef<TWork>(state).Run(part, parts);

    private void Loop(int worker)
    {
        while (true)
        {
            wakes[worker].Wait();
            wakes[worker].Reset();
            if (stopping) return;
            RunPart(worker);
            Interlocked.Decrement(ref remaining);
        }
    }

    private void RunPart(int part)
    {
        try
        {
            body(state, part, parts);
        }
        catch (Exception error) when (parts > 1)
        {
            Interlocked.CompareExchange(ref failure, error, null);
        }
    }
}
