using KernelForge.Cpu;

namespace KernelForge.Tests;

public unsafe class CpuTopologyTests
{
    [Theory]
    [InlineData("0\n", 0)]
    [InlineData("0-3,8", 0, 1, 2, 3, 8)]
    [InlineData("1-2,5-6\n", 1, 2, 5, 6)]
    [InlineData("\n")]
    public void Cores_ListOfLinux_EachCore(string list, params int[] expected) => Assert.Equal(expected, CpuTopology.Cores(list));

    [Fact]
    public void Read_ThisMachine_HasTheCoresOfTheProcessOnce()
    {
        int[] cores = [.. CpuTopology.Read().Nodes.SelectMany(node => node)];
        Assert.NotEmpty(cores);
        Assert.Equal(ThreadAffinity.ProcessCores(), cores.Order());
    }

    [Theory]
    [InlineData(2, new[] { 4, 4 }, new[] { 1, 1 })]
    [InlineData(8, new[] { 4, 4 }, new[] { 4, 4 })]
    [InlineData(5, new[] { 4, 4 }, new[] { 2, 3 })]
    [InlineData(1, new[] { 2, 2 }, new[] { 0, 1 })]
    [InlineData(6, new[] { 8, 2, 2 }, new[] { 4, 1, 1 })]
    [InlineData(64, new[] { 2, 2, 2, 2 }, new[] { 16, 16, 16, 16 })]
    public void ThreadsOf_NodesOfSomeCores_ContiguousByTheirShare(int threads, int[] cores, int[] expected)
    {
        var topology = new CpuTopology([.. cores.Select(count => new int[count])]);
        int next = 0;
        for (int node = 0; node < cores.Length; node++)
        {
            var range = topology.ThreadsOf(node, threads);
            Assert.Equal((next, next + expected[node]), (range.Start, range.End));
            for (int thread = range.Start; thread < range.End; thread++) Assert.Equal(node, topology.NodeOf(thread, threads));
            next = range.End;
        }
        Assert.Equal(threads, next);
    }

    [Fact]
    public void Holds_SeveralNodes_WorkersToTheirNodeAndPinnedOnesToACoreOfIt()
    {
        var topology = new CpuTopology([[5000, 5001], [5002, 5003]]); // no thread of this process is there
        Assert.Equal([[5000, 5001], [5000, 5001], [5002, 5003]], topology.Holds(4, pin: false));
        Assert.Equal([[5000], [5001], [5002]], topology.Holds(4, pin: true));
        Assert.Equal([[5000], [5001], [5000, 5001], [5002], [5003]], topology.Holds(6, pin: true));
        Assert.Equal([[], []], new CpuTopology([[5000, 5001, 5002]]).Holds(3, pin: false));
        Assert.Equal([[5000], [5001], []], new CpuTopology([[5000, 5001]]).Holds(4, pin: true));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(4)]
    public void MatMul_SimulatedNodes_SameBits(int nodes)
    {
        const int Rows = 9, N = 520, K = 300;
        float[] Result(CpuDeviceOptions options)
        {
            using Device device = Device.OpenCpu(options);
            using DeviceBuffer x = device.Allocate(DType.F32, Rows * K), weights = device.Allocate(DType.F32, N * K), result = device.Allocate(DType.F32, Rows * N);
            Fill(x, Rows * K);
            Fill(weights, N * K);
            using DenseWeights packed = DenseWeights.Pack(weights.AsMatrix(N, K));
            device.Operators.MatMul(x.AsMatrix(Rows, K), packed, result.AsMatrix(Rows, N));
            return new Span<float>((void*)result.Address, Rows * N).ToArray();
        }

        float[] expected = Result(new CpuDeviceOptions { Threads = 1 });
        foreach (int threads in (int[])[2, 4, 5]) Assert.Equal(expected, Result(new CpuDeviceOptions { Threads = threads, Nodes = nodes }));
    }

    /// <summary>Every panel is packed, and so first written, by the thread that multiplies it.</summary>
    [Theory]
    [InlineData(2, 4)]
    [InlineData(4, 4)]
    [InlineData(2, 5)]
    public void PanelWork_SimulatedNodes_PanelsOfANodeFollowEachOtherAndArePackedThere(int nodes, int count)
    {
        using var threads = new CpuThreads(count, CpuTopology.Simulated(nodes, count));
        foreach (int panels in (int[])[count, 33, 300])
        {
            var packing = new Packing(new int[panels], new int[panels], panels);
            threads.Run(ref packing, panels);

            var multiplied = new int[panels];
            var product = new RecordingProduct(multiplied);
            using DeviceBuffer result = Device.Cpu.Allocate(DType.F32, panels * PanelLayout.Panel);
            var epilogue = new Epilogue<LanesScalar>(result.AsMatrix(1, panels * PanelLayout.Panel), default, default);
            new PanelWork<LanesScalar, RecordingProduct>(threads, product, 1, panels * PanelLayout.Panel, isGated: false, epilogue, panels).Run();

            Assert.Equal(packing.Threads, multiplied);
            int[] nodesOf = [.. packing.Parts.Select(part => threads.NodeOf(part, count))];
            Assert.Equal(nodesOf.Order(), nodesOf);
            Assert.Equal(nodes, nodesOf.Distinct().Count());
        }
    }

    private static void Fill(DeviceBuffer buffer, int length)
    {
        var random = new Random(length);
        var span = new Span<float>((void*)buffer.Address, length);
        foreach (ref float element in span) element = 2 * random.NextSingle() - 1;
    }

    /// <summary>Which thread and part has a panel where panels are packed.</summary>
    private readonly struct Packing(int[] threads, int[] partOf, int panels) : IParallelWork
    {
        public int[] Threads => threads;

        public int[] Parts => partOf;

        public void Run(int part, int parts)
        {
            var range = Panels.Part(panels, part, parts);
            threads.AsSpan(range.Start, range.End - range.Start).Fill(Environment.CurrentManagedThreadId);
            partOf.AsSpan(range.Start, range.End - range.Start).Fill(part);
        }
    }

    /// <summary>Which thread multiplies a panel.</summary>
    private readonly struct RecordingProduct(int[] threads) : IPanelProduct
    {
        public int MaxPanels => 4;

        public long PackedBytes(int rows) => 64;

        public long ScratchBytes(int rows) => 0;

        public void PackTile(int firstRow, int rows, byte* packed)
        {
        }

        public void Multiply(int rows, byte* packed, int firstPanel, int panels, float* sums, int stride, byte* scratch) =>
            threads.AsSpan(firstPanel, panels).Fill(Environment.CurrentManagedThreadId);
    }
}
