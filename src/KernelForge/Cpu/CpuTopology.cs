using System.Globalization;

namespace KernelForge.Cpu;

/// <summary>The cores that this process may use, by NUMA node: cores of a node reach its memory faster than others do.</summary>
/// <remarks>
/// <para>
/// Threads are numbered along the nodes, as many on each as it has of the cores, so that neighbouring parts of a work are on one node. Products cut weights into runs of
/// panels, part after part (<see cref="Panels.Part"/>): each node multiplies one run of them. Packing cuts them the same way and is what first writes their memory, and
/// the system puts a page on the node that first writes to it: so weights, nearly all that a step reads, lie where they are multiplied. On machines with several nodes the threads of a
/// pool are held to the cores of their nodes for that, whatever <see cref="CpuDeviceOptions.Pin"/> says; the caller, which does the last part, is not.
/// </para>
/// <para>
/// What crosses nodes: x, which each node packs a share of and all read, and each node's columns of the result: some kilobytes for a row, against the megabytes of weights of a layer.
/// Activations are on the caller's node. Keys and values are on the node whose thread wrote them first, by rows and not by heads; attention, which takes items as threads
/// come free, reads them from all nodes. Both lose where contexts are long: a node's links carry a fraction of its memory's bandwidth.
/// </para>
/// <para>
/// A worker per node would be the next step: an engine with its own copy of the weights, threads and cache on each node, and sequences handed out by their prefixes. Nothing
/// crosses then, at the price of memory for the copies. It needs no more than a process for each node today: <c>numactl --cpunodebind=N --membind=N kf run</c> with a share of the prompts.
/// </para>
/// </remarks>
internal sealed class CpuTopology
{
    private const string NodeFolder = "/sys/devices/system/node", CoreFolder = "/sys/devices/system/cpu";

    private readonly int[][] _nodes;
    private readonly int _cores;

    /// <param name="nodes">The cores of each node, none of them empty.</param>
    /// <param name="isSimulated">Whether the cores are not those of this machine.</param>
    public CpuTopology(int[][] nodes, bool isSimulated = false)
    {
        _nodes = nodes;
        _cores = nodes.Sum(node => node.Length);
        IsSimulated = isSimulated;
    }

    /// <summary>Whether threads stay where the system puts them, since the nodes are made up.</summary>
    public bool IsSimulated { get; }

    /// <summary>The cores of each node.</summary>
    public IReadOnlyList<int[]> Nodes => _nodes;

    /// <summary>
    /// This machine, as far as the process may use it. Linux says which cores are on a node; elsewhere there is one node. Of the cores that share their arithmetic
    /// (hyper-threads) all first ones come before the others.
    /// </summary>
    public static CpuTopology Read()
    {
        int[] allowed = ThreadAffinity.ProcessCores();
        int[][] nodes = OperatingSystem.IsLinux() && Directory.Exists(NodeFolder)
            ? [.. Directory.EnumerateDirectories(NodeFolder, "node*").Order(StringComparer.Ordinal).Select(node => Usable(Path.Combine(node, "cpulist"), allowed)).Where(cores => cores.Length > 0)]
            : [];
        return new CpuTopology(nodes.Sum(node => node.Length) == allowed.Length ? nodes : [allowed]);
    }

    /// <summary>Nodes that are not there, for so many threads: they share them out as real ones would, and no thread is held anywhere.</summary>
    public static CpuTopology Simulated(int nodes, int threads)
    {
        int each = Math.Max(1, threads / nodes);
        return new CpuTopology([.. Enumerable.Range(0, nodes).Select(node => Enumerable.Range(node * each, each).ToArray())], isSimulated: true);
    }

    /// <summary>The threads of a node, where there are <paramref name="threads"/> in all. Node after node, each has the share that it has of the cores.</summary>
    public RowRange ThreadsOf(int node, int threads)
    {
        int before = _nodes.Take(node).Sum(cores => cores.Length);
        return new RowRange(Share(before, threads), Share(before + _nodes[node].Length, threads));
    }

    /// <summary>The node of a thread.</summary>
    public int NodeOf(int thread, int threads)
    {
        int node = 0;
        while (thread >= ThreadsOf(node, threads).End) node++;
        return node;
    }

    /// <summary>
    /// The cores that each of <paramref name="threads"/> threads is held to, but for the last, the caller's. None: it may run anywhere. With <paramref name="pin"/> one core
    /// each, as long as its node has one to which no thread of this process is held; else those of its node, where there are several.
    /// </summary>
    public int[][] Holds(int threads, bool pin)
    {
        var holds = new int[threads - 1][];
        Array.Fill(holds, []);
        if (IsSimulated || !pin && _nodes.Length == 1) return holds;

        HashSet<int> taken = pin ? ThreadAffinity.TakenCores() : [];
        for (int node = 0; node < _nodes.Length; node++)
        {
            RowRange range = ThreadsOf(node, threads);
            var free = new Queue<int>(pin ? _nodes[node].Where(core => !taken.Contains(core)) : []);
            for (int thread = range.Start; thread < Math.Min(range.End, threads - 1); thread++)
                holds[thread] = free.TryDequeue(out int core) ? [core] : _nodes.Length > 1 ? _nodes[node] : [];
        }
        return holds;
    }

    /// <summary>The cores in a list as Linux writes it: <c>0-3,8</c>.</summary>
    public static int[] Cores(string list)
    {
        List<int> cores = [];
        foreach (string run in list.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            string[] ends = run.Split('-');
            int first = int.Parse(ends[0], CultureInfo.InvariantCulture), last = int.Parse(ends[^1], CultureInfo.InvariantCulture);
            cores.AddRange(Enumerable.Range(first, last - first + 1));
        }
        return [.. cores];
    }

    private int Share(int coresBefore, int threads) => (int)((long)threads * coresBefore / _cores);

    private static int[] Usable(string file, int[] allowed) => [.. Cores(File.ReadAllText(file)).Intersect(allowed).OrderBy(IsSecond).ThenBy(core => core)];

    private static bool IsSecond(int core)
    {
        string file = $"{CoreFolder}/cpu{core}/topology/thread_siblings_list";
        return File.Exists(file) && Cores(File.ReadAllText(file)) is [int first, ..] && first != core;
    }
}
