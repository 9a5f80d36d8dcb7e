using System.Diagnostics;
using KernelForge.Cpu;

namespace KernelForge.Tests;

public unsafe class CpuThreadsTests
{
    [Theory]
    [InlineData(1, 1)]
    [InlineData(1, 5)]
    [InlineData(3, 0)]
    [InlineData(3, 1)]
    [InlineData(3, 2)]
    [InlineData(3, 3)]
    [InlineData(3, 100)]
    public void Run_AnyNumberOfParts_DoesEachPartOnce(int count, int maxParts)
    {
        using var threads = new CpuThreads(count);
        var work = new Counting(new int[count]);
        for (int repeat = 0; repeat < 20; repeat++) threads.Run(ref work, maxParts);

        int parts = Math.Clamp(maxParts, 1, count);
        Assert.Equal(parts, work.Parts);
        for (int part = 0; part < count; part++) Assert.Equal(part < parts ? 20 : 0, work.Runs[part]);
    }

    [Fact]
    public void Run_ManyWorksAfterAnother_EachSeesWhatTheOneBeforeWrote()
    {
        // Every part adds up what all parts left behind: a missing fence or a part that starts late gives another number.
        using var threads = new CpuThreads(3);
        long[] current = [1, 1, 1];
        for (int round = 0; round < 2_000; round++)
        {
            var next = new long[3];
            var work = new Summing(current, next);
            threads.Run(ref work, 3);
            current = next;
            Assert.All(current, sum => Assert.Equal(current[0], sum));
            if (current[0] > 1_000_000) current = [1, 1, 1];
        }
    }

    [Theory]
    [InlineData(1, 0)]
    [InlineData(3, 0)]
    [InlineData(3, 2)] // the caller's part
    public void Run_PartThrows_ThrowsTheSameAndStaysUsable(int count, int failingPart)
    {
        using var threads = new CpuThreads(count);
        var failing = new Failing(failingPart);
        for (int repeat = 0; repeat < 10; repeat++)
        {
            var error = Assert.Throws<FormatException>(() => threads.Run(ref failing, 3));
            Assert.Equal($"part {failingPart}", error.Message);
        }

        var work = new Counting(new int[count]);
        threads.Run(ref work, count);
        Assert.All(work.Runs, runs => Assert.Equal(1, runs));
    }

    [Fact]
    public void Run_WorkInAnObjectThatMoves_EveryPartSeesIt()
    {
        using var threads = new CpuThreads(3);
        for (int repeat = 0; repeat < 200; repeat++)
        {
            var gap = new byte[1_000]; // garbage before the holder: it moves when the heap is compacted
            var holder = new Holder { Work = new Collecting(new int[3], 12_345 + repeat) };
            gap = null;
            threads.Run(ref holder.Work, 3);
            Assert.All(holder.Work.Seen, seen => Assert.Equal(12_345 + repeat, seen));
        }
    }

    [Fact]
    public void Run_PartLongerThanTheWaitingThreadLooks_SleepsAndAllocatesNothing()
    {
        using var threads = new CpuThreads(2);
        foreach (int longPart in (int[])[0, 1]) // the caller sleeps, then the worker does
        {
            var work = new Long(longPart, TimeSpan.FromMilliseconds(5));
            Garbage.AssertNone(() =>
            {
                threads.Run(ref work, 2);
                threads.Run(ref work, 1); // one part: the worker has nothing to do
            });
        }
    }

    [Fact]
    public void Run_FromSeveralThreads_OneAfterTheOther()
    {
        using var threads = new CpuThreads(2);
        var inside = new int[1];
        var callers = Enumerable.Range(0, 4).Select(_ => new Thread(() =>
        {
            for (int repeat = 0; repeat < 100; repeat++)
            {
                var work = new Exclusive(inside);
                threads.Run(ref work, 1 + repeat % 2);
            }
        })).ToList();
        callers.ForEach(caller => caller.Start());
        callers.ForEach(caller => caller.Join());

        Assert.Equal(4 * (50 * 1 + 50 * 2), inside[0]);
    }

    [Fact]
    public void Run_InsideOfAPart_Throws()
    {
        using var threads = new CpuThreads(2);
        var work = new Nested(threads);
        Assert.Throws<InvalidOperationException>(() => threads.Run(ref work, 1));
    }

    [Fact]
    public void Run_AfterDispose_Throws()
    {
        var threads = new CpuThreads(2);
        threads.Dispose();
        threads.Dispose();
        var work = new Counting(new int[2]);
        Assert.Throws<ObjectDisposedException>(() => threads.Run(ref work, 1));
        Assert.Throws<ObjectDisposedException>(() => threads.Run(ref work, 2));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(4)]
    public void Run_SimulatedNodes_EachPartStaysOnItsThreadAndNodesFollowEachOther(int nodes)
    {
        using var threads = new CpuThreads(4, CpuTopology.Simulated(nodes, 4));
        foreach (int parts in (int[])[4, 3, 2])
        {
            var first = new Recording(new int[parts], new int[parts][]);
            threads.Run(ref first, parts);
            Assert.Equal(parts, first.Threads.Distinct().Count());
            for (int repeat = 0; repeat < 10; repeat++)
            {
                var again = new Recording(new int[parts], new int[parts][]);
                threads.Run(ref again, parts);
                Assert.Equal(first.Threads, again.Threads);
            }
        }

        Assert.Equal(Enumerable.Range(0, 4).Select(part => part * nodes / 4), Enumerable.Range(0, 4).Select(part => threads.NodeOf(part, 4)));
    }

    [Fact]
    public void Run_Pinned_HoldsWorkersToCoresOfTheirOwnAndTheCallerToNone()
    {
        int[] cores = ThreadAffinity.ProcessCores(), own = ThreadAffinity.CoresOf(0) ?? [];
        if (!OperatingSystem.IsLinux() || cores.Length < 2) return;
        int count = cores.Length;
        using var threads = new CpuThreads(count, CpuTopology.Read(), pin: true);
        using var others = new CpuThreads(count, CpuTopology.Read(), pin: true);
        using var free = new CpuThreads(count, CpuTopology.Simulated(2, count), pin: true);

        List<int> pinned = [.. Pinned(threads), .. Pinned(others)];
        Assert.Equal(pinned.Distinct(), pinned);
        Assert.All(pinned, core => Assert.Contains(core, cores));
        Assert.InRange(pinned.Count, Math.Min(1, count - 1), count);
        Assert.Empty(Pinned(free));
        Assert.Equal(own, ThreadAffinity.CoresOf(0));

        List<int> Pinned(CpuThreads pool)
        {
            var work = new Recording(new int[count], new int[count][]);
            pool.Run(ref work, count);
            Assert.Equal(own, work.Cores[^1]);
            List<int> single = [.. work.Cores.SkipLast(1).Where(held => held.Length == 1).Select(held => held[0])];
            Assert.Equal(pool.Pinned, single.Count);
            return single;
        }
    }

    [Fact]
    public void Scratch_GrowsAndIsKept()
    {
        using var threads = new CpuThreads(2);
        void* first = threads.Scratch(0, 1000), second = threads.Scratch(1, 1000);
        Assert.True(first != second);
        Assert.Equal(0, (nint)first % 64);
        Assert.True(first == threads.Scratch(0, 10));

        var grown = (byte*)threads.Scratch(0, 1_000_000);
        grown[999_999] = 1;
        Assert.True(grown == threads.Scratch(0, 1_000_000));
    }

    private struct Counting(int[] runs) : IParallelWork
    {
        public int Parts;

        public readonly int[] Runs => runs;

        public void Run(int part, int parts)
        {
            Interlocked.Increment(ref runs[part]);
            Parts = parts;
        }
    }

    /// <summary>Which thread does a part, and which cores it may use.</summary>
    private readonly struct Recording(int[] threads, int[][] cores) : IParallelWork
    {
        public int[] Threads => threads;

        public int[][] Cores => cores;

        public void Run(int part, int parts)
        {
            threads[part] = Environment.CurrentManagedThreadId;
            cores[part] = ThreadAffinity.CoresOf(0) ?? [];
        }
    }

    private readonly struct Summing(long[] current, long[] next) : IParallelWork
    {
        public void Run(int part, int parts) => next[part] = current[0] + current[1] + current[2];
    }

    private readonly struct Long(int longPart, TimeSpan time) : IParallelWork
    {
        public void Run(int part, int parts)
        {
            long start = Stopwatch.GetTimestamp();
            if (part == longPart || parts == 1)
                while (Stopwatch.GetElapsedTime(start) < time) Thread.SpinWait(10);
        }
    }

    private readonly struct Failing(int failingPart) : IParallelWork
    {
        public void Run(int part, int parts)
        {
            if (part == failingPart) throw new FormatException($"part {part}");
        }
    }

    private sealed class Holder
    {
        public Collecting Work;
    }

    /// <summary>Each part looks at the work only after it started a collection that compacts.</summary>
    private struct Collecting(int[] seen, int value) : IParallelWork
    {
        public readonly int[] Seen => seen;

        public readonly void Run(int part, int parts)
        {
            GC.Collect(0, GCCollectionMode.Forced, blocking: true, compacting: true);
            seen[part] = value;
        }
    }

    /// <summary>Counts without interlocked operations over the whole of a call, so that calls at the same time lose counts.</summary>
    private readonly struct Exclusive(int[] inside) : IParallelWork
    {
        public void Run(int part, int parts)
        {
            if (part > 0) return;
            int before = inside[0];
            Thread.Yield();
            inside[0] = before + parts;
        }
    }

    private readonly struct Nested(CpuThreads threads) : IParallelWork
    {
        public void Run(int part, int parts)
        {
            Nested inner = this;
            threads.Run(ref inner, 1);
        }
    }
}
