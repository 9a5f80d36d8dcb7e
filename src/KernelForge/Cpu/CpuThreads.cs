using System.Runtime.CompilerServices;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;

namespace KernelForge.Cpu;

/// <summary>Work that can be cut into parts, each done by one thread.</summary>
internal interface IParallelWork
{
    /// <summary>Does part number <paramref name="part"/> of <paramref name="parts"/>. Must not start other work on the same threads.</summary>
    void Run(int part, int parts);
}

/// <summary>
/// A fixed set of threads; the calling thread is one of them. Which thread does a part never changes a result: every output
/// element is computed whole within one part.
/// </summary>
/// <remarks>
/// Operators of a step follow each other so fast that a thread is still looking for work (see <see cref="Signal"/>) when the next one starts.
/// </remarks>
internal sealed unsafe class CpuThreads : IDisposable
{
    private const int ScratchAlignment = 64;

    private readonly Lock gate = new();
    private readonly Thread[] workers;
    private readonly Signal[] wakes;
    private readonly Signal done = new();
    private readonly nint[] scratch;
    private readonly long[] scratchBytes;

    // The running work: written before a wake is set, read after it was seen.
    private delegate*<void*, int, int, void> body;
    private void* state;
    private int parts;
    private int remaining;
    private ExceptionDispatchInfo? failure;
    private bool running;
    private volatile bool stopping;

    public CpuThreads(int count)
    {
        Count = count;
        scratch = new nint[count];
        scratchBytes = new long[count];
        workers = new Thread[count - 1];
        wakes = new Signal[count - 1];
        for (int i = 0; i < workers.Length; i++)
        {
            int worker = i;
            wakes[i] = new Signal();
            workers[i] = new Thread(() => Loop(worker)) { IsBackground = true, Name = $"KernelForge CPU {i + 1}" };
            workers[i].Start();
        }
    }

    public int Count { get; }

    /// <summary>
    /// Runs <paramref name="work"/>, a local of the caller, in at most <paramref name="maxParts"/> parts and returns when all are done.
    /// Callers on other threads wait for each other. What a part throws is thrown again here, once all parts have ended.
    /// </summary>
    public void Run<TWork>(ref TWork work, int maxParts) where TWork : struct, IParallelWork
    {
        lock (gate)
        {
            ObjectDisposedException.ThrowIf(stopping, typeof(CpuDevice));
            if (running) throw new InvalidOperationException("CpuThreads: a part of running work started other work on the same threads");
            running = true;
            try
            {
                int wanted = Math.Min(maxParts, Count);
                if (wanted <= 1) work.Run(0, 1);
                else RunShared(ref work, wanted);
            }
            finally
            {
                running = false;
            }
        }
    }

    /// <summary>
    /// Memory that <paramref name="part"/> of the running work has for itself: at least <paramref name="bytes"/> bytes, aligned to a cache line, not cleared.
    /// It is kept for the next work.
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
        lock (gate)
        {
            if (stopping) return;
            stopping = true;
            foreach (Signal wake in wakes) wake.Set();
            foreach (Thread worker in workers) worker.Join();
            foreach (nint memory in scratch) NativeMemory.AlignedFree((void*)memory);
        }
    }

    private void RunShared<TWork>(ref TWork work, int wanted) where TWork : struct, IParallelWork
    {
        body = &Invoke<TWork>;
        state = Unsafe.AsPointer(ref work);
        parts = wanted;
        remaining = wanted;
        for (int i = 0; i < wanted - 1; i++) wakes[i].Set();
        RunPart(wanted - 1);

        done.Wait();
        if (failure is not { } thrown) return;
        failure = null;
        thrown.Throw();
    }

    private static void Invoke<TWork>(void* state, int part, int parts) where TWork : struct, IParallelWork =>
        Unsafe.AsRef<TWork>(state).Run(part, parts);

    private void Loop(int worker)
    {
        while (true)
        {
            wakes[worker].Wait();
            if (stopping) return;
            RunPart(worker);
        }
    }

    private void RunPart(int part)
    {
        try
        {
            body(state, part, parts);
        }
        catch (Exception error)
        {
            Interlocked.CompareExchange(ref failure, ExceptionDispatchInfo.Capture(error), null);
        }
        if (Interlocked.Decrement(ref remaining) == 0) done.Set();
    }
}
