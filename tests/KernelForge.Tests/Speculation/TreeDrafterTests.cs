using System.Runtime.InteropServices;

namespace KernelForge.Tests;

public class TreeDrafterTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    // block size, blocks for branches, draft length, branches, temperature
    [Theory]
    [InlineData(4, 200, 4, 2, 0)]
    [InlineData(4, 200, 6, 3, 0.8f)]
    [InlineData(1, 300, 3, 2, 0.8f)]
    [InlineData(16, 200, 1, 4, 0)]
    [InlineData(4, 6, 5, 4, 0.8f)] // trees are cut
    [InlineData(4, 0, 3, 3, 0)]
    public void Draft_WhateverIsAccepted_ChildrenAreWhatTheModelRanksThere(int blockSize, int branchBlocks, int draftLength, int branches, float temperature)
    {
        using TinyModel target = TinyModel.Create("llama"), draft = TinyModel.Create("llama3-scaling"); // the same weights, other angles
        List<Request> requests = Workload.Requests(samples: 1, temperature);
        TreeRun plain = TreeRun.Plain(target, Device.Cpu, DType.F32, requests);
        SchedulerOptions options = TreeRun.Scarce(blockSize, draftLength, branches);
        var drafter = new CheckedTrees(DrafterOf(draft, Device.Cpu, DType.F32, options, branches, branchBlocks), new TreePass(draft), branches);

        TreeRun trees = TreeRun.WithTrees(target, Device.Cpu, DType.F32, requests, options, drafter, branchBlocks);

        trees.AssertSame(plain);
        Assert.True(drafter.Checked > 100, $"{drafter.Checked} tokens were compared");
        Assert.True(trees.Counters!.Accepted > 20 && trees.Counters.Drafted > trees.Counters.Accepted);
    }

    [Fact]
    public void Draft_TargetDraftsForItself_FirstChildrenAreAccepted()
    {
        using TinyModel target = TinyModel.Create("llama");
        List<Request> requests = Workload.Requests(samples: 1, temperature: 0.8f);
        SchedulerOptions options = TreeRun.Scarce(blockSize: 4, draftLength: 4, nodes: 2);

        TreeRun trees = TreeRun.WithTrees(target, Device.Cpu, DType.F32, requests, options, DrafterOf(target, Device.Cpu, DType.F32, options, 2, 200), 200);

        trees.AssertSame(TreeRun.Plain(target, Device.Cpu, DType.F32, requests));
        Assert.Equal(0, trees.Counters!.AcceptanceLengths[0]); // limits and stop tokens may cut a draft, nothing else
        Assert.True(trees.Counters.MeanAcceptanceLength > 2);
    }

    [Fact]
    public void Draft_FiltersLeaveOneToken_RanksBehindItAreHarmless()
    {
        using TinyModel target = TinyModel.Create("llama");
        List<Request> requests = [.. Enumerable.Range(2, 5).Select(i => new Request([i, 7], new SamplingOptions { MaxTokens = 20, Temperature = 1, TopK = 1 }))];
        SchedulerOptions options = TreeRun.Scarce(blockSize: 4, draftLength: 4, nodes: 3);

        TreeRun trees = TreeRun.WithTrees(target, Device.Cpu, DType.F32, requests, options, DrafterOf(target, Device.Cpu, DType.F32, options, 3, 200), 200);

        trees.AssertSame(TreeRun.Plain(target, Device.Cpu, DType.F32, requests));
        Assert.True(trees.Counters!.Accepted > 20);
    }

    [DeviceTheory, MemberData(nameof(Devices.AllCuda), MemberType = typeof(Devices))]
    public void Draft_OnCuda_NoTokenChanges(string deviceName)
    {
        using TinyModel target = TinyModel.Create("llama", DType.BF16), draft = TinyModel.Create("llama3-scaling", DType.BF16);
        Device device = devices.Open(deviceName);
        List<Request> requests = [.. Workload.Requests(samples: 1, temperature: 0.8f, mostTokens: 6).Take(6)];
        SchedulerOptions options = TreeRun.Scarce(blockSize: 4, draftLength: 3, nodes: 2);

        TreeRun trees = TreeRun.WithTrees(target, device, DType.BF16, requests, options, DrafterOf(draft, device, DType.BF16, options, 2, 60), 60);

        trees.AssertSame(TreeRun.Plain(target, device, DType.BF16, requests));
        Assert.True(trees.Counters!.Accepted > 0);
    }

    private static TreeDrafter DrafterOf(TinyModel tiny, Device device, DType type, SchedulerOptions options, int branches, int branchBlocks)
    {
        Transformer model = Transformer.Load(device, tiny.Folder, new EngineOptions { ComputeType = type });
        var format = new KvFormat(options.BlockSize, model.Config.KvHeads, model.Config.HeadDim, type);
        var cache = new KvCache(device, model.Config.Layers, format, options.BlockCount + branchBlocks);
        var speculation = new SpeculationOptions { DraftModel = "draft", Branches = branches, DraftLength = options.MaxTokensPerStep - 1 };
        return new TreeDrafter(model, cache, speculation, options.TokenBudget, options.MaxSequences, prefixGroups: true, branchBlocks);
    }

    /// <summary>Passes on what a drafter proposes, and holds the children of every node to what the draft model alone ranks behind the tokens on the way to it.</summary>
    private sealed class CheckedTrees(TreeDrafter product, TreePass alone, int branches) : IDrafter
    {
        public int Checked { get; private set; }

        public int MaxDraftLength => product.MaxDraftLength;

        public void Draft(StepPlan plan, DraftBatch drafts)
        {
            product.Draft(plan, drafts);
            int[] proposals = drafts.Proposals.ToArray();
            for (int i = 0; i < plan.Rows.Length; i++)
                if (drafts.Nodes(i).Length > 0) Check(plan.Rows[i].Sequence, drafts.Nodes(i).ToArray(), proposals);
        }

        public void Observe(StepPlan plan, DraftBatch drafts, StepResult result) => product.Observe(plan, drafts, result);

        public void Dispose()
        {
            product.Dispose();
            alone.Dispose();
        }

        private void Check(Sequence sequence, DraftNode[] nodes, int[] proposals)
        {
            for (int parent = 0; parent <= nodes.Length; parent++)
            {
                int[] children = [.. nodes.Where(node => node.Parent == parent).Select(node => proposals[node.Source])];
                if (children.Length == 0) continue;
                List<int> tokens = [];
                for (int node = parent; node > 0; node = nodes[node - 1].Parent) tokens.Insert(0, proposals[nodes[node - 1].Source]);
                Assert.InRange(children.Length, 1, branches);
                Assert.Equal(Ranked([.. sequence.Tokens, .. tokens], sequence, tokens.Count, children.Length), children);
                Checked += children.Length;
            }
        }

        /// <summary>Draws one token after the other, each time without those drawn before.</summary>
        private int[] Ranked(int[] tokens, Sequence sequence, int depth, int count)
        {
            var logits = new float[1, 97];
            alone.Logits(tokens, [], TreeLayout.Paths)[0].CopyTo(MemoryMarshal.CreateSpan(ref logits[0, 0], 97));
            SamplingOptions sampling = sequence.Request.Sampling;
            if (sequence.OutputLength + depth < sampling.MinTokens)
                foreach (int stop in (int[])[.. sampling.StopTokenIds, .. sampling.IgnoreEndToken ? [] : (int[])[1]]) logits[0, stop] = float.NegativeInfinity;

            var drawn = new int[count];
            for (int rank = 0; rank < count; rank++)
            {
                using var arena = new Arena(Device.Cpu, 4096);
                DeviceMatrix matrix = arena.Matrix(DType.F32, 1, 97);
                matrix.CopyFrom<float>(logits);
                DeviceSpan<int> chosen = arena.Span<int>(1);
                Device.Cpu.Operators.Sample(matrix, arena.Upload<SamplingRow>([TokenSampler.RowOf(sequence, tokens.Length)]), chosen);
                drawn[rank] = chosen.ToArray()[0];
                logits[0, drawn[rank]] = float.NegativeInfinity;
            }
            return drawn;
        }
    }
}
