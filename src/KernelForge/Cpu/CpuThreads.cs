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
/// Operators of a step follow each other so fast that a thread is still looking for work (see <see cref="Signal"/>) when the next one starts. A work of so many parts
/// always has the same part on the same thread; the last is the caller's. <see cref="CpuTopology"/> says which threads are on which node.
/// </remarks>
internal sealed unsafe class CpuThreads : IDisposable
{
    private const int ScratchAlignment = 64;
    private const int LooksBeforeYield = 100; // three microseconds: from one operator to the next

    private readonly Lock _gate = new();
    private readonly CpuTopology _topology;
    private readonly Thread[] _workers;
    private readonly Signal[] _wakes;
    private readonly Signal[] _dones;
    private readonly nint[] _scratch;
    private readonly long[] _scratchBytes;
    private nint _shared;
    private long _sharedBytes;

    // The running work: written before a wake is set, read after it was seen.
    private delegate*<void*, int, int, void> _body;
    private void* _state;
    private int _parts;
    private ExceptionDispatchInfo? _failure;
    private bool _running;
    private int _pinned;
    private volatile bool _stopping;

    /// <param name="count">Threads, the calling one included.</param>
    /// <param name="topology">The nodes that they are spread over; null for one, of any cores.</param>
    /// <param name="pin">Whether each thread but the calling one is held to a core of its own, as far as there are cores to which no other thread is held.</param>
    public CpuThreads(int count, CpuTopology? topology = null, bool pin = false)
    {
        Count = count;
        _topology = topology ?? CpuTopology.Simulated(1, count);
        int[][] cores = _topology.Holds(count, pin);
        _scratch = new nint[count];
        _scratchBytes = new long[count];
        _workers = new Thread[count - 1];
        _wakes = new Signal[count - 1];
        _dones = new Signal[count - 1];
        int looks = count <= Environment.ProcessorCount ? LooksBeforeYield : 0;
        for (int i = 0; i < _workers.Length; i++)
        {
            int worker = i;
            _wakes[i] = new Signal(looks);
            _dones[i] = new Signal(looks);
            _workers[i] = new Thread(() => Loop(worker, cores[worker])) { IsBackground = true, Name = $"KernelForge CPU {i + 1}" };
            _workers[i].Start();
        }
        foreach (Signal held in _dones) held.Wait(); // a pool that is opened next sees which cores are taken
    }

    public int Count { get; }

    /// <summary>Threads that are held to a core of their own.</summary>
    public int Pinned => _pinned;

    /// <summary>The node that does a part of a work.</summary>
    public int NodeOf(int part, int parts) => _topology.NodeOf(part == parts - 1 ? Count - 1 : part, Count);

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
        Grow(ref _scratch[part], ref _scratchBytes[part], bytes);
        return (void*)_scratch[part];
    }

    /// <summary>
    /// Memory for what one run leaves to the next: at least <paramref name="bytes"/> bytes, aligned to a cache line, not cleared. Between the runs of the caller
    /// who <see cref="Hold"/>s the threads it stays as it is.
    /// </summary>
    public byte* Shared(long bytes)
    {
        Grow(ref _shared, ref _sharedBytes, bytes);
        return (byte*)_shared;
    }

    /// <summary>Lets the runs of other callers wait until the scope is disposed.</summary>
    public Lock.Scope Hold() => _gate.EnterScope();

    public void Dispose()
    {
        lock (_gate)
        {
            if (_stopping) return;
            _stopping = true;
            foreach (Signal wake in _wakes) wake.Set();
            foreach (Thread worker in _workers) worker.Join();
            foreach (nint memory in _scratch) NativeMemory.AlignedFree((void*)memory);
            NativeMemory.AlignedFree((void*)_shared);
        }
    }

    private static void Grow(ref nint memory, ref long size, long bytes)
    {
        if (bytes <= size) return;
        NativeMemory.AlignedFree((void*)memory);
        (memory, size) = (0, 0);
        memory = (nint)NativeMemory.AlignedAlloc((nuint)bytes, ScratchAlignment);
        size = bytes;
    }

    private void RunShared<TWork>(ref TWork work, int wanted) where TWork : struct, IParallelWork
    {
        // Pinned: the threads know the work by its address, and a caller may keep it in an object that the collector moves.
        fixed (byte* state = &Unsafe.As<TWork, byte>(ref work))
        {
            _body = &Invoke<TWork>;
            _state = state;
            _parts = wanted;
            for (int i = 0; i < wanted - 1; i++) _wakes[i].Set();
            RunPart(wanted - 1);
            for (int i = 0; i < wanted - 1; i++) _dones[i].Wait();
        }

        if (_failure is not { } thrown) return;
        _failure = null;
        thrown.Throw();
    }

    private static void Invoke<TWork>(void* state, int part, int parts) where TWork : struct, IParallelWork =>
        Unsafe.AsRef<TWork>(state).Run(part, parts);

    private void Loop(int worker, int[] cores)
    {
        if (cores.Length > 0 && ThreadAffinity.Hold(cores) && cores.Length == 1) Interlocked.Increment(ref _pinned);
        _dones[worker].Set();
        while (true)
        {
            _wakes[worker].Wait();
            if (_stopping) return;
            RunPart(worker);
            _dones[worker].Set();
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
    }
}
