using KernelForge.Cuda;

namespace KernelForge.Tests;

/// <summary>A plan of fixed capacity in a captured graph: the graph is replayed with the plans of other steps, which are copied to the same memory.</summary>
public sealed class AttentionGraphTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private const int BlockSize = 16, KvHeads = 2, QueryHeads = 4, HeadDim = 64, Tokens = 24, Blocks = 80;

    public static TheoryData<string> All => Devices.AllCuda;

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void Attention_CapturedOnce_TakesThePlansOfOtherSteps(string deviceName)
    {
        var device = (CudaDevice)devices.Open(deviceName);
        var format = new KvFormat(BlockSize, KvHeads, HeadDim, DType.F16);
        using var cache = new GuardedMatrix(device, DType.F16, Blocks * format.RowsPerBlock, HeadDim, Numbers.Uniform(1, Blocks * format.RowsPerBlock * HeadDim, 2));
        using var queries = new GuardedMatrix(device, DType.F16, Tokens, QueryHeads * HeadDim, Numbers.Uniform(2, Tokens * QueryHeads * HeadDim, 2));
        using var result = new GuardedMatrix(device, DType.F32, Tokens, QueryHeads * HeadDim);
        using var expected = new GuardedMatrix(device, DType.F32, Tokens, QueryHeads * HeadDim);
        var layer = new KvLayer(cache, format);
        var planner = new AttentionPlanner(new AttentionPlannerOptions(format, Blocks, QueryHeads, device.Operators.AttentionTiling(format))
        {
            Sharing = AttentionSharing.All,
            MaxSlots = 1000,
            Capacity = new AttentionCapacity(Tokens, Sequences: 8, BlockIds: 400, Items: 64),
        });
        planner.Plan([0, 1], [0], [0, 1], [0]);
        using DeviceBuffer memory = device.Allocate(DType.I32, planner.MemoryLength), workspace = device.Allocate(DType.F32, planner.WorkspaceLength);
        AttentionPlan plan = planner.On(memory.AsSpan<int>(), workspace.AsSpan<float>());
        device.Operators.Attention(queries, layer, planner.On(Uploaded(), workspace.AsSpan<float>()), 0.1f, result); // kernels are loaded before the capture
        using CudaGraph graph = CudaGraph.Capture(device.Stream, () => device.Operators.Attention(queries, layer, plan, 0.1f, result));

        // Eight decodes behind two prefixes; a chunk of a prompt; verification and decode, one of them long.
        int[] first = [.. Enumerable.Range(0, 36)], second = [.. Enumerable.Range(40, 5)];
        Replay([.. Enumerable.Range(0, 8).Select(s => ((int[])[.. s < 5 ? first : second, 60 + s], (s < 5 ? 576 : 80) + s, 1))]);
        Replay([([.. second, 50, 51], 90, 20)]);
        Replay([([.. first, 70, 71], 590, 4), ([.. first, 72], 577, 1), ([3, 4], 7, 19)]);

        void Replay((int[] Table, int Context, int Count)[] step)
        {
            int[] offsets = Sums(step.Select(s => s.Count)), blockOffsets = Sums(step.Select(s => s.Table.Length)), contexts = [.. step.Select(s => s.Context)];
            int[] tables = [.. step.SelectMany(s => s.Table)];
            planner.Plan(offsets, contexts, blockOffsets, tables);
            Uploaded();
            graph.Launch();
            using DeviceBuffer o = device.Upload<int>(offsets), c = device.Upload<int>(contexts), b = device.Upload<int>(blockOffsets), t = device.Upload<int>(tables);
            var batch = new AttentionBatch(o.AsSpan<int>(), c.AsSpan<int>(), b.AsSpan<int>(), t.AsSpan<int>());
            int tokens = offsets[^1];
            device.Operators.Attention(queries.Matrix.SliceRows(0, tokens), layer, batch, 0.1f, expected.Matrix.SliceRows(0, tokens));
            int elements = tokens * QueryHeads * HeadDim;
            Close.AssertSameBits(expected.Get().AsSpan(0, elements), result.Get().AsSpan(0, elements));
        }

        DeviceSpan<int> Uploaded()
        {
            var ints = new int[planner.MemoryLength];
            planner.Memory.CopyTo(ints);
            memory.AsSpan<int>().CopyFrom(ints);
            return memory.AsSpan<int>();
        }

        static int[] Sums(IEnumerable<int> lengths)
        {
            List<int> sums = [0];
            foreach (int length in lengths) sums.Add(sums[^1] + length);
            return [.. sums];
        }
    }
}
