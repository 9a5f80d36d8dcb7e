namespace KernelForge.Tests;

public sealed class StagedDrafterTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private static readonly SchedulerOptions Ample = new()
    {
        BlockCount = 300, BlockSize = 4, ContextLength = Workload.ContextLength, TokenBudget = 48, MaxSequences = 8, EndTokenIds = [1],
    };

    [Theory]
    [InlineData(8, 48, 300, 0)]
    [InlineData(5, 48, 300, 0.8f)]
    [InlineData(8, 19, 60, 0)]
    [InlineData(1, 19, 60, 0.8f)]
    public void Draft_WhateverWasAccepted_ProposesTheChainsOfADraftModelDrafter(int draftLength, int budget, int blocks, float temperature)
    {
        using TinyModel tiny = TinyModel.Create("llama");
        SchedulerOptions options = Ample with { BlockCount = blocks, TokenBudget = budget, Admission = new AggressiveAdmission() };
        var pair = new Pair(new StagedDrafter(model: Load(tiny, options, Device.Cpu, out KvCache cache), cache, Options(draftLength), budget, 8),
            new DraftModelDrafter(Load(tiny, options, Device.Cpu, out KvCache other), other, Options(draftLength), budget, 8));
        using var run = new DraftRun(options, pair, new Random(draftLength));

        run.Run(Workload.Requests(samples: 3, temperature));

        Assert.True(pair.Compared > 60, $"{pair.Compared} tokens were compared");
        Assert.InRange(pair.Passes, 1, pair.PlainPasses);
    }

    [DeviceTheory, MemberData(nameof(Devices.AllCuda), MemberType = typeof(Devices))]
    public void Draft_OnCuda_ProposesTheChainsOfADraftModelDrafter(string deviceName)
    {
        using TinyModel tiny = TinyModel.Create("llama", DType.F16);
        Device device = devices.Open(deviceName);
        var pair = new Pair(new StagedDrafter(Load(tiny, Ample, device, out KvCache cache), cache, Options(4), 48, 8),
            new DraftModelDrafter(Load(tiny, Ample, device, out KvCache other), other, Options(4), 48, 8));
        using var run = new DraftRun(Ample, pair, new Random(3));

        run.Run(Workload.Requests(samples: 1, 0, mostTokens: 8).Take(5));

        Assert.True(pair.Compared >= 10, $"{pair.Compared} tokens were compared");
    }

    [Fact]
    public void Draft_GuessesRightWrongAndNone_TakesAPassForEachWrongOne()
    {
        using TinyModel tiny = TinyModel.Create("llama");
        using var drafter = new StagedDrafter(Load(tiny, Ample, Device.Cpu, out KvCache cache), cache, Options(6), 48, 8);
        var sampling = new SamplingOptions { LogitBias = new Dictionary<int, float> { [7] = 1e6f } };
        (int Passes, int Tokens, int Drafted) Draft(params int[] prompt)
        {
            var sequence = new Sequence(0, new Request(prompt, sampling), 0, 64);
            for (int block = 0; block < 4; block++) sequence.Table.Add(block);
            var plan = new StepPlan(Ample.BlockSize);
            plan.Add(new PlanRow(sequence, 0, prompt.Length, maxTokens: 7));
            var drafts = new DraftBatch();
            drafter.Draft(plan, drafts);
            Assert.All(drafts.Nodes(0).ToArray(), node => Assert.Equal(7, node.Token));
            return (drafts.Passes, drafts.PassTokens, drafts.Nodes(0).Length);
        }

        Assert.Equal((1, 4 + 5, 6), Draft(7, 7, 7, 7));
        Assert.Equal((6, 5 + 5 + 15, 6), Draft(7, 7, 9, 7, 7)); // always guesses 9
        Assert.Equal((6, 3 + 5, 6), Draft(3, 4, 5));            // nothing to guess
    }

    private static SpeculationOptions Options(int draftLength) => new() { DraftLength = draftLength };

    private static Transformer Load(TinyModel tiny, SchedulerOptions options, Device device, out KvCache cache)
    {
        Transformer model = Transformer.Load(device, tiny.Folder);
        var format = new KvFormat(options.BlockSize, model.Config.KvHeads, model.Config.HeadDim, model.ComputeType);
        cache = new KvCache(device, model.Config.Layers, format, options.BlockCount);
        return model;
    }

    /// <summary>Drafts with both and compares.</summary>
    private sealed class Pair(StagedDrafter staged, DraftModelDrafter plain) : IDrafter
    {
        private readonly DraftBatch _plain = new();

        public int Compared { get; private set; }

        public long Passes { get; private set; }

        public long PlainPasses { get; private set; }

        public int MaxDraftLength => staged.MaxDraftLength;

        public void Draft(StepPlan plan, DraftBatch drafts)
        {
            staged.Draft(plan, drafts);
            _plain.Clear();
            plain.Draft(plan, _plain);
            int[] proposals = _plain.Proposals.ToArray();
            for (int row = 0; row < plan.Rows.Length; row++)
            {
                Assert.Equal(_plain.Nodes(row).ToArray().Select(node => node with { Token = proposals[node.Source], Source = -1 }), drafts.Nodes(row).ToArray());
                Compared += drafts.Nodes(row).Length;
            }
            Passes += drafts.Passes;
            PlainPasses += _plain.Passes;
        }

        public void Observe(StepPlan plan, DraftBatch drafts, StepResult result)
        {
            staged.Observe(plan, drafts, result);
            plain.Observe(plan, drafts, result);
        }

        public void Dispose()
        {
            staged.Dispose();
            plain.Dispose();
        }
    }
}
