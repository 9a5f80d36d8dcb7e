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

    private readonly Lock _gate = new();
    private readonly Thread[] _workers;
    private readonly Signal[] _wakes;
    private readonly Signal _done = new();
    private readonly nint[] _scratch;
    private readonly long[] _scratchBytes;

    // The running work: written before a wake is set, read after it was seen.
    private delegate*<void*, int, int, void> _body;
    private void* _state;
    private int _parts;
    private int _remaining;
    private ExceptionDispatchInfo? _failure;
    private bool _running;
    private volatile bool _stopping;

    public CpuThreads(int count)
    {
        Count = count;
        _scratch = new nint[count];
        _scratchBytes = new long[count];
        _workers = new Thread[count - 1];
        _wakes = new Signal[count - 1];
        for (int i = 0; i < _workers.Length; i++)
        {
            int worker = i;
            _wakes[i] = new Signal();
            _workers[i] = new Thread(() => Loop(worker)) { IsBackground = true, Name = $"KernelForge CPU {i + 1}" };
            _workers[i].Start();
        }
    }

    public int Count { get; }

    /// <summary>
    /// Runs <paramref name="work"/> in at most <paramref name="maxParts"/> parts and returns when all are done.
    /// Callers on other threads wait for each other. What a part throws is thrown again here, once all parts have ended.
    /// </summary>
    public void Run<TWork>(ref TWork work, int maxParts) where TWork : struct, IParallelWork
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_stopping, typeof(CpuDevice));
            if (_running) throw new InvalidOperationException("CpuThreads: a part of running work started other work on the same threads");
            _running = true;
            try
            {
                int wanted = Math.Min(maxParts, Count);
                if (wanted <= 1) work.Run(0, 1);
                else RunShared(ref work, wanted);
            }
            finally
            {
                _running = false;
            }
        }
    }

    /// <summary>
    /// Memory that <paramref name="part"/> of the running work has for itself: at least <paramref name="bytes"/> bytes, aligned to a cache line, not cleared.
    /// It is kept for the next work.
    /// </summary>
    public void* Scratch(int part, long bytes)
    {
        if (bytes > _scratchBytes[part])
        {
            NativeMemory.AlignedFree((void*)_scratch[part]);
            (_scratch[part], _scratchBytes[part]) = (0, 0);
            _scratch[part] = (nint)NativeMemory.AlignedAlloc((nuint)bytes, ScratchAlignment);
            _scratchBytes[part] = bytes;
        }
        return (void*)_scratch[part];
    }

    public void Dispose()
    {
        lock (_gate)
        {
            if (_stopping) return;
            _stopping = true;
            foreach (Signal wake in _wakes) wake.Set();
            foreach (Thread worker in _workers) worker.Join();
            foreach (nint memory in _scratch) NativeMemory.AlignedFree((void*)memory);
        }
    }

    private void RunShared<TWork>(ref TWork work, int wanted) where TWork : struct, IParallelWork
    {
        // Pinned: the threads know the work by its address, and a caller may keep it in an object that the collector moves.
        fixed (byte* state = &Unsafe.As<TWork, byte>(ref work))
        {
            _body = &Invoke<TWork>;
            _state = state;
            _parts = wanted;
            _remaining = wanted;
            for (int i = 0; i < wanted - 1; i++) _wakes[i].Set();
            RunPart(wanted - 1);
            _done.Wait();
        }

        if (_failure is not { } thrown) return;
        _failure = null;
        thrown.Throw();
    }

    private static void Invoke<TWork>(void* state, int part, int parts) where TWork : struct, IParallelWork =>
        Unsafe.AsRef<TWork>(state).Run(part, parts);

    private void Loop(int worker)
    {
        while (true)
        {
            _wakes[worker].Wait();
            if (_stopping) return;
            RunPart(worker);
        }
    }

    private void RunPart(int part)
    {
        try
        {
            _body(_state, part, _parts);
        }
        catch (Exception error)
        {
            Interlocked.CompareExchange(ref _failure, ExceptionDispatchInfo.Capture(error), null);
        }
        if (Interlocked.Decrement(ref _remaining) == 0) _done.Set();
    }
}
