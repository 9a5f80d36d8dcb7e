using CommunityToolkit.HighPerformance;

namespace KernelForge.Tests;

public sealed class DraftModelDrafterTests(OpenDevices devices) : IClassFixture<OpenDevices>, IDisposable
{
    private static readonly SchedulerOptions Ample = new()
    {
        BlockCount = 300, BlockSize = 4, ContextLength = Workload.ContextLength, TokenBudget = 48, MaxSequences = 8, EndTokenIds = [1],
    };

    private readonly TinyModel _target = TinyModel.Create("llama"), _other = TinyModel.Create("llama3-scaling");

    public void Dispose()
    {
        _target.Dispose();
        _other.Dispose();
    }

    [Theory]
    [InlineData(4, 48, 300, true, 0)]
    [InlineData(4, 48, 300, true, 0.8f)]
    [InlineData(8, 19, 40, true, 0.8f)]  // preemption, chunks
    [InlineData(3, 19, 60, false, 0)]    // without a prefix cache
    [InlineData(1, 48, 60, true, 0.8f)]
    public void Draft_WhateverWasAccepted_ProposesWhatTheDraftModelAloneGoesOnWith(int draftLength, int budget, int blocks, bool prefixCache, float temperature)
    {
        SchedulerOptions options = Ample with { BlockCount = blocks, TokenBudget = budget, PrefixCache = prefixCache, Admission = new AggressiveAdmission() };
        var drafter = new CheckedDrafter(DrafterOf(_target, options, draftLength, Device.Cpu), Alone(_target, Device.Cpu));
        using var run = new DraftRun(options, drafter, new Random(draftLength));

        run.Run(Workload.Requests(samples: 3, temperature));

        Assert.True(drafter.Checked > 60, $"{drafter.Checked} tokens were compared");
        if (blocks < 300) Assert.True(run.Preemptions > 0);
    }

    [DeviceTheory, MemberData(nameof(Devices.AllCuda), MemberType = typeof(Devices))]
    public void Draft_OnCuda_ProposesWhatTheDraftModelAloneGoesOnWith(string deviceName)
    {
        using TinyModel draft = TinyModel.Create("llama", DType.F16);
        Device device = devices.Open(deviceName);
        var drafter = new CheckedDrafter(DrafterOf(draft, Ample, 3, device), Alone(draft, device));
        using var run = new DraftRun(Ample, drafter, new Random(1));

        run.Run(Workload.Requests(samples: 1, 0.8f, mostTokens: 8).Take(5));

        Assert.True(drafter.Checked >= 10, $"{drafter.Checked} tokens were compared");
    }

    [Theory, InlineData(0), InlineData(0.8f)]
    public void Draft_TargetDraftsForItself_EverythingIsAccepted(float temperature)
    {
        Answers drafted = Answer(DrafterOf(_target, Ample, 4, Device.Cpu), temperature);

        Assert.Equal(Answer(null, temperature).Tokens, drafted.Tokens);
        Assert.Equal(0, drafted.Rejections);
        Assert.True(drafted.Counters!.Accepted > 100);
    }

    [Theory, InlineData(0), InlineData(0.8f)]
    public void Draft_AnotherModelDrafts_SomeAreAcceptedAndNoTokenChanges(float temperature)
    {
        Answers drafted = Answer(DrafterOf(_other, Ample, 4, Device.Cpu), temperature);

        Assert.Equal(Answer(null, temperature).Tokens, drafted.Tokens);
        Assert.True(drafted.Rejections > 0 && drafted.Counters!.Accepted > 0);
    }

    [Fact]
    public void Draft_AfterEveryKindOfStep_ComputesOnlyWhatIsLacking()
    {
        var request = new Request([5, 6, 7, 8, 9, 10, 11, 12, 13, 14], new SamplingOptions { MaxTokens = 15, IgnoreEndToken = true });

        var drafter = new CheckedDrafter(DrafterOf(_target, Ample, 4, Device.Cpu), null);
        Answer(drafter, 0, [request]);

        // Nothing beside the prompt; then all of it, a token and three drafts; then what full acceptance left, a token more. The last step may gain four tokens.
        Assert.Equal([(0, 0), (4, 11 + 3), (4, 2 + 3), (3, 2 + 2)], drafter.Steps);
    }

    [Fact]
    public void Draft_SharedPrefixNobodyComputed_IsComputedOnce()
    {
        DraftModelDrafter drafter = DrafterOf(_target, Ample, 4, Device.Cpu);
        using (drafter)
        {
            var scheduler = new Scheduler(Ample with { MaxTokensPerStep = 5 });
            int[] prefix = [.. Enumerable.Range(2, 20)];
            Sequence owner = scheduler.Add(new Request([.. prefix, 50]))[0];
            scheduler.Commit(scheduler.Plan(), Result(0, 60)); // no draft model in this step
            Sequence reader = scheduler.Add(new Request([.. prefix, 51]))[0];
            scheduler.Commit(scheduler.Plan(), Result(0, 61, 1, 62));
            Assert.Equal(20, reader.CachedLength);

            var drafts = new DraftBatch();
            drafter.Draft(scheduler.Plan(), drafts);

            Assert.Equal((4, owner.Length + (reader.Length - 20) + 2 * 3), (drafts.Passes, drafts.PassTokens));
            Assert.Equal([4, 4], Enumerable.Range(0, 2).Select(row => drafts.Nodes(row).Length));
        }
    }

    [Fact]
    public void Draft_LacksMoreThanTheBudget_TakesAPartAndDraftsLater()
    {
        using DraftModelDrafter drafter = DrafterOf(_target, Ample with { TokenBudget = 8 }, 4, Device.Cpu);
        Sequence sequence = Table(new Sequence(0, new Request([.. Enumerable.Range(2, 20)]), 0, 64), blocks: 8);
        var plan = new StepPlan(Ample.BlockSize);
        plan.Add(new PlanRow(sequence, 19, 1, maxTokens: 5));
        List<(int Tokens, int Drafted)> steps = [];
        for (int step = 0; step < 4; step++)
        {
            var drafts = new DraftBatch();
            drafter.Draft(plan, drafts);
            steps.Add((drafts.PassTokens, drafts.Nodes(0).Length));
        }
        Assert.Equal([(8, 0), (8, 0), (4 + 3, 4), (1 + 3, 4)], steps);
    }

    [Fact]
    public void Draft_RowsWithoutDrafts_AreLeft()
    {
        using DraftModelDrafter drafter = DrafterOf(_target, Ample, 4, Device.Cpu);
        Sequence decoding = Table(new Sequence(0, new Request([5, 6, 7]), 0, 64), 4), prompt = Table(new Sequence(1, new Request([8, 9, 10, 11]), 0, 64), 4, first: 4);
        foreach ((int tokens, int computed) in (ReadOnlySpan<(int, int)>)[(1, 0), (2, 3), (1, 0)])
        {
            var plan = new StepPlan(Ample.BlockSize);
            plan.Add(new PlanRow(decoding, 2, 1, tokens));
            plan.Add(new PlanRow(prompt, 0, 3, 0));
            var drafts = new DraftBatch();
            drafter.Draft(plan, drafts);
            Assert.Equal(computed, drafts.PassTokens);
        }
    }

    [Fact]
    public void Draft_ContextOfTheDraftModelEnds_DraftsShorterAndThenNothing()
    {
        Transformer model = Transformer.Load(Device.Cpu, _target.Folder, new EngineOptions { ContextLength = 12 });
        var cache = new KvCache(Device.Cpu, model.Config.Layers, new KvFormat(4, model.Config.KvHeads, model.Config.HeadDim, DType.F32), 16);
        using var drafter = new DraftModelDrafter(model, cache, new SpeculationOptions { DraftLength = 4 }, 48, 8);
        List<int> lengths = [];
        foreach (int length in (int[])[8, 10, 11, 12, 13, 20])
        {
            var plan = new StepPlan(4);
            plan.Add(new PlanRow(Table(new Sequence(0, new Request([.. Enumerable.Range(2, length)]), 0, 64), 8), length - 1, 1, maxTokens: 5));
            var drafts = new DraftBatch();
            drafter.Draft(plan, drafts);
            lengths.Add(drafts.Nodes(0).Length);
        }
        Assert.Equal([4, 3, 2, 1, 0, 0], lengths);
    }

    [Fact]
    public void Draft_Step_WaitsForNothingAndAllocatesNothing()
    {
        using var device = new CountingDevice();
        using DraftModelDrafter drafter = DrafterOf(_target, Ample, 4, device);
        var plan = new StepPlan(Ample.BlockSize);
        for (int i = 0; i < 3; i++)
            plan.Add(new PlanRow(Table(new Sequence(i, new Request([5, 6, 7, 8]), 0, 64), 4, first: 4 * i), 3, 1, maxTokens: 5));
        var drafts = new DraftBatch();
        void Draft()
        {
            drafts.Clear();
            drafter.Draft(plan, drafts);
        }
        for (int i = 0; i < 5; i++) Draft();
        device.Downloads = 0;

        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 10; i++) Draft();

        Assert.Equal((0, 0), (device.Downloads, GC.GetAllocatedBytesForCurrentThread() - before));
        Assert.Equal(12, drafts.Count);
    }

    [Fact]
    public void Draft_ForRejectionSampling_DrawsWithASeedOfItsOwnAndKeepsTheLogits()
    {
        (Transformer model, KvCache cache) = LoadModel(_target.Folder, Ample, Device.Cpu);
        using var drafter = new DraftModelDrafter(model, cache, new SpeculationOptions { DraftLength = 3, RejectionSampling = true }, 48, 8);
        var sampling = new SamplingOptions { Temperature = 1, Seed = 9, LogitBias = new Dictionary<int, float> { [7] = float.NegativeInfinity } };
        var plan = new StepPlan(Ample.BlockSize);
        for (int i = 0; i < 2; i++) plan.Add(new PlanRow(Table(new Sequence(i, new Request([5, 6, 7 + i], sampling), 0, 64), 4, first: 4 * i), 2, 1, maxTokens: 3 + i));
        var drafts = new DraftBatch();

        drafter.Draft(plan, drafts);

        int[] proposals = drafts.Proposals.ToArray();
        Assert.Equal((5, 5), (proposals.Length, drafts.Logits.Rows));
        using ModelRun alone = Alone(_target, Device.Cpu);
        for (int row = 0; row < 2; row++)
        {
            DraftNode[] nodes = drafts.Nodes(row).ToArray();
            var apart = new Request([5, 6, 7 + row], sampling with { Seed = DraftSeed.Of(9), MaxTokens = nodes.Length, IgnoreEndToken = true });
            Assert.Equal(alone.Run([apart])[0].OutputTokens.ToArray(), nodes.Select(node => proposals[node.Source]));
            for (int depth = 0; depth < nodes.Length; depth++)
                Close.AssertSameBits(alone.Logits[(apart, 0, 3 + depth)], new ReadOnlySpan2D<float>(drafts.Logits.ToArray<float>()).GetRowSpan(nodes[depth].Source).ToArray());
        }
    }

    [Fact]
    public void RequireSameVocabulary_OtherSize_SaysWhichSizes()
    {
        DraftModelDrafter.RequireSameVocabulary(_target.Config, _other.Config);
        var error = Assert.Throws<ArgumentException>(() => DraftModelDrafter.RequireSameVocabulary(_target.Config, _other.Config with { VocabularySize = 96 }));
        Assert.Contains("96 token ids, the model 97", error.Message, StringComparison.Ordinal);
    }

    private static ModelRun Alone(TinyModel draft, Device device) => new(draft, Ample with { BlockCount = 3000 }, device);

    /// <summary>Answers of the target with a drafter, or of plain decoding.</summary>
    private Answers Answer(IDrafter? drafter, float temperature, List<Request>? requests = null)
    {
        (Transformer model, KvCache cache) = LoadModel(_target.Folder, Ample, Device.Cpu);
        using IDisposable owner = drafter is null
            ? new ModelRunner(model, cache, Ample.TokenBudget, Ample.MaxSequences)
            : new SpeculativeRunner(model, cache, drafter, new SpeculationOptions(), Ample.TokenBudget, Ample.MaxSequences);
        var runner = (IStepRunner)owner;
        var scheduler = new Scheduler(Ample with { MaxTokensPerStep = runner.MaxTokensPerStep });
        List<Sequence> sequences = [.. (requests ?? Workload.Requests(samples: 2, temperature)).SelectMany(scheduler.Add)];
        int rejections = 0;
        while (scheduler.HasWork)
        {
            StepPlan plan = scheduler.Plan();
            StepResult result = runner.Run(plan);
            scheduler.Commit(plan, result);
            for (int i = 0; i < plan.Rows.Length; i++)
                if (plan.Rows[i].Sequence.Status != SequenceStatus.Finished && result.DraftLength(i) >= Math.Max(1, result.Tokens(i).Length)) rejections++;
        }
        return new Answers([.. sequences.Select(sequence => sequence.OutputTokens.ToArray())], runner.Speculation, rejections);
    }

    /// <param name="Tokens">Of every sequence.</param>
    /// <param name="Counters">Null without drafts.</param>
    /// <param name="Rejections">Rows that went on and for which not all drafts were accepted.</param>
    private sealed record Answers(List<int[]> Tokens, SpeculationCounters? Counters, int Rejections);

    private static DraftModelDrafter DrafterOf(TinyModel draft, SchedulerOptions options, int draftLength, Device device)
    {
        (Transformer model, KvCache cache) = LoadModel(draft.Folder, options, device);
        return new DraftModelDrafter(model, cache, new SpeculationOptions { DraftLength = draftLength }, options.TokenBudget, options.MaxSequences);
    }

    private static (Transformer Model, KvCache Cache) LoadModel(string folder, SchedulerOptions options, Device device)
    {
        Transformer model = Transformer.Load(device, folder);
        var format = new KvFormat(options.BlockSize, model.Config.KvHeads, model.Config.HeadDim, model.ComputeType);
        return (model, new KvCache(device, model.Config.Layers, format, options.BlockCount));
    }

    private static Sequence Table(Sequence sequence, int blocks, int first = 0)
    {
        for (int i = 0; i < blocks; i++) sequence.Table.Add(first + i);
        return sequence;
    }

    private static StepResult Result(params int[] rowsAndTokens)
    {
        var result = new StepResult();
        for (int i = 0; i < rowsAndTokens.Length; i += 2) result.Add(rowsAndTokens[i], rowsAndTokens[i + 1]);
        return result;
    }
}
