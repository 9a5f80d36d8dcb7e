namespace KernelForge.Tests;

/// <summary>
/// The tokens of RejectDrafts follow the target's distribution whatever the draft's is. Statistics are taken on the CPU, where draws are cheap; CUDA devices are held to
/// its tokens.
/// </summary>
public sealed class RejectDraftsTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private const int Draws = 20_000;
    private const float Never = float.NegativeInfinity;

    private static readonly SamplingRow Plain = new(Seed: 5, Position: 0, Temperature: 1, TopK: 0, TopP: 1, MinP: 0);

    public static TheoryData<string> All => Devices.All;

    public static TheoryData<string> AllCuda => Devices.AllCuda;

    /// <summary>Pairs of target and draft, and how to draw.</summary>
    public static TheoryData<string> Pairs => [.. NamedPairs.Keys];

    private static readonly Dictionary<string, (float[] Target, float[] Draft, SamplingRow Settings)> NamedPairs = new()
    {
        ["equal"] = ([1, 0, 2, -1, 0.5f], [1, 0, 2, -1, 0.5f], Plain),
        ["shifted by a constant"] = ([1, 0, 2, -1, 0.5f], [4, 3, 5, 2, 3.5f], Plain),
        ["different"] = ([1, 0, 2, -1, 0.5f], [0, 2, -1, 1, 0.3f], Plain),
        ["disjoint"] = ([1, Never, 2, Never, 0.5f], [Never, 1, Never, 2, Never], Plain),
        ["draft of one token"] = ([1, 0, 2, -1, 0.5f], [Never, 0, Never, float.NaN, Never], Plain),
        ["target of one token"] = ([Never, 0, Never, float.NaN, Never], [1, 0, 2, -1, 0.5f], Plain),
        ["near"] = (Numbers.Uniform(1, 50, 2), [.. Numbers.Uniform(1, 50, 2).Zip(Numbers.Uniform(2, 50, 0.3f), (a, b) => a + b)], Plain with { Temperature = 0.8f }),
        ["top-k"] = (Numbers.Uniform(3, 40, 2), Numbers.Uniform(4, 40, 2), Plain with { TopK = 9 }),
        ["top-p"] = (Numbers.Uniform(5, 40, 2), Numbers.Uniform(6, 40, 2), Plain with { TopP = 0.6f, Temperature = 1.5f }),
        ["min-p"] = (Numbers.Uniform(7, 40, 2), Numbers.Uniform(8, 40, 2), Plain with { MinP = 0.2f }),
        ["all filters"] = (Numbers.Uniform(9, 60, 3), Numbers.Uniform(10, 60, 3), Plain with { TopK = 30, TopP = 0.9f, MinP = 0.05f, Temperature = 1.3f }),
        ["a thousand tokens"] = (Numbers.Uniform(11, 1000, 3), Numbers.Uniform(12, 1000, 3), Plain),
    };

    [Theory]
    [MemberData(nameof(Pairs))]
    public void RejectDrafts_DraftsDrawnFromTheDraft_FollowTheTarget(string name)
    {
        (float[] target, float[] draft, SamplingRow settings) = NamedPairs[name];
        using var trial = new Trial(devices.Open(Devices.CpuNames[^1]), target, draft, [.. Enumerable.Range(0, Draws).Select(p => settings with { Position = p })]);
        double[] p = Distribution(target, settings), q = Distribution(draft, settings);
        foreach (int[] drafted in (int[][])[trial.Draft(DraftSeed.Of(settings.Seed)), trial.Draft(settings.Seed)])
        {
            int[] chosen = trial.Choose(drafted);
            ChiSquare.AssertFollows(p, chosen);

            double accepted = p.Zip(q, Math.Min).Sum(), deviation = Math.Sqrt(Draws * accepted * (1 - accepted)) + 1e-4 * Draws;
            Assert.InRange(chosen.Zip(drafted, (a, b) => a == b).Count(same => same), Draws * accepted - 5 * deviation, Draws * accepted + 5 * deviation);
            if (accepted is > 0.1 and < 0.9) AssertBiasedVariantsFail(p, chosen, drafted, trial.Sample()); // elsewhere they are about right
        }
    }

    [Theory]
    [MemberData(nameof(Pairs))]
    public void RejectDrafts_CertainDrafts_FollowTheTarget(string name)
    {
        (float[] target, _, SamplingRow settings) = NamedPairs[name];
        using var trial = new Trial(devices.Open(Devices.CpuNames[^1]), target, null, [.. Enumerable.Range(0, Draws).Select(s => settings with { Seed = (ulong)s << 20, Position = 7 })]);
        double[] p = Distribution(target, settings);
        foreach (int token in (int[])[0, 2, target.Length - 1])
        {
            int[] chosen = trial.Choose([.. Enumerable.Repeat(token, Draws)]);
            ChiSquare.AssertFollows(p, chosen);
        }
    }

    /// <summary>Three tokens of a Markov chain in rounds of two drafts, positions drafted again after a rejection: their joint distribution.</summary>
    [Fact]
    public void RejectDrafts_ChainsOfThree_FollowTheTargetJointly()
    {
        float[][] target = [[2, 0, 1, -1], [0, 1, 1, 0], [-1, 2, 0, 0.5f], [1, 1, -2, 0]], draft = [[1, 1, 0, 0], [0, 0, 2, 0], [0, 1, 0, 1], [2, 0, 0, -1]];
        double[][] p = [.. target.Select(row => Distribution(row, Plain))];
        double[] joint = [.. Enumerable.Range(0, 64).Select(i => p[0][i / 16] * p[i / 16][i / 4 % 4] * p[i / 4 % 4][i % 4])];
        ChiSquare.AssertFollows(joint, Chains(target, draft, bonus: target));
        ChiSquare.AssertDoesNotFollow(joint, Chains(target, draft, bonus: draft)); // the token behind the last draft taken from the draft model
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void RejectDrafts_NoDraft_DrawsAsSample(string deviceName)
    {
        SamplingRow[] rows = [.. Enumerable.Range(0, 40).Select(p => Plain with { Position = p, TopK = p % 3 * 5, Temperature = p % 4 })];
        using var trial = new Trial(devices.Open(deviceName), Numbers.Uniform(1, 33, 3), Numbers.Uniform(2, 33, 3), rows);
        Assert.Equal(trial.Sample(), trial.Choose([.. Enumerable.Repeat(-1, 40)]));
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void RejectDrafts_CertainTarget_IsItsLargestLogit(string deviceName)
    {
        SamplingRow greedy = Plain with { Temperature = 0 };
        foreach (float[] target in (float[][])[[1, 5, -2, 5, float.NaN], [1, float.PositiveInfinity, 3, 4, 5]])
        {
            using var trial = new Trial(devices.Open(deviceName), target, [0, 0, 9, 0, 0], [.. Enumerable.Repeat(target[2] > 0 ? Plain : greedy, 5)]);
            Assert.Equal([1, 1, 1, 1, 1], trial.Choose([0, 1, 2, 3, 4]));
        }
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void RejectDrafts_EqualLogits_TakesEveryDraft(string deviceName)
    {
        float[] logits = Numbers.Uniform(3, 200, 4);
        SamplingRow[] rows = [.. Enumerable.Range(0, 200).Select(p => Plain with { Position = p })];
        using var trial = new Trial(devices.Open(deviceName), logits, logits, rows);
        int[] drafted = [.. Enumerable.Range(0, 200)];
        Assert.Equal(drafted, trial.Choose(drafted));
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void RejectDrafts_OneNode_DoesNotDependOnTheBatchOrTheInstructionSet(string deviceName)
    {
        Case all = Case.Random(seed: 1, nodes: 40, vocabulary: 203);
        int[] together = all.Choose(devices.Open(deviceName));
        for (int node = 0; node < 40; node++) Assert.Equal(together[node], all.Node(node).Choose(devices.Open(deviceName))[0]);
        Assert.Equal(all.Choose(devices.Open(Devices.CpuNames[0])), together);
    }

    [DeviceTheory]
    [MemberData(nameof(AllCuda))]
    public void RejectDrafts_OnCuda_ChoosesTheTokensOfTheCpu(string deviceName)
    {
        foreach (int vocabulary in (int[])[1, 2, 31, 300])
        {
            foreach (bool hasDraftLogits in (bool[])[true, false])
            {
                Case all = Case.Random(vocabulary, nodes: 80, vocabulary);
                if (!hasDraftLogits) all = all with { Draft = null };
                Assert.Equal(all.Choose(devices.Open(Devices.CpuNames[^1])), all.Choose(devices.Open(deviceName)));
            }
        }
    }

    [Fact]
    public void RejectDrafts_BadArguments_SaysWhatIsWrong()
    {
        Device device = devices.Open(Devices.CpuNames[0]);
        AssertFails("drafted token 3", new Case([1, 2, 3], [1, 2, 3], [Plain], [3]));
        AssertFails("drafted token -2", new Case([1, 2, 3], [1, 2, 3], [Plain], [-2]));
        AssertFails("draftLogits is", new Case([1, 2, 3], [1, 2], [Plain], [0]));
        AssertFails("finite temperature", new Case([1, 2, 3], [1, 2, 3], [Plain with { Temperature = -1 }], [0]));

        void AssertFails(string message, Case bad)
        {
            string text = Assert.Throws<ArgumentException>(() => bad.Choose(device)).Message;
            Assert.Contains("RejectDrafts", text);
            Assert.Contains(message, text);
        }
    }

    [Fact]
    public void DraftSeed_Of_GivesOtherSeeds()
    {
        ulong[] seeds = [.. Enumerable.Range(0, 1000).Select(i => (ulong)i), ulong.MaxValue, 1ul << 63];
        Assert.Equal(2 * seeds.Length, seeds.Concat(seeds.Select(DraftSeed.Of)).Distinct().Count());
        Assert.Equal(0x8209B480FAED1B10ul, DraftSeed.Of(0)); // as it is: answers of a seed must not change
    }

    /// <summary>What is often done instead: every draft taken, or after a rejection a draw from the target.</summary>
    private static void AssertBiasedVariantsFail(double[] p, int[] chosen, int[] drafted, int[] plain)
    {
        ChiSquare.AssertDoesNotFollow(p, drafted);
        ChiSquare.AssertDoesNotFollow(p, [.. chosen.Select((token, i) => token == drafted[i] ? token : plain[i])]);
    }

    private static double[] Distribution(float[] logits, in SamplingRow settings) => ReferenceSampling.Probabilities(
        [.. logits.Select(l => float.IsNaN(l) ? Never : l)], settings.Temperature, settings.TopK, settings.TopP, settings.MinP);

    /// <summary>The first three tokens after token 0 of each of many chains, as one number.</summary>
    private int[] Chains(float[][] target, float[][] draft, float[][] bonus)
    {
        const int length = 3, drafts = 2;
        Device device = devices.Open(Devices.CpuNames[^1]);
        List<int>[] tokens = [.. Enumerable.Range(0, Draws).Select(_ => new List<int> { 0 })];
        while (tokens.Any(chain => chain.Count <= length))
        {
            int[] unfinished = [.. Enumerable.Range(0, Draws).Where(i => tokens[i].Count <= length)];
            List<int[]> paths = [[.. unfinished.Select(i => tokens[i][^1])]], chosen = [];
            for (int depth = 0; depth < drafts; depth++) paths.Add(Draw(depth, draft, drafted: null));
            for (int depth = 0; depth <= drafts; depth++)
                chosen.Add(depth < drafts ? Draw(depth, target, paths[depth + 1]) : Draw(depth, bonus, [.. Enumerable.Repeat(-1, unfinished.Length)]));
            for (int i = 0; i < unfinished.Length; i++)
            {
                int depth = 0;
                do tokens[unfinished[i]].Add(chosen[depth][i]);
                while (depth < drafts && chosen[depth][i] == paths[++depth][i]);
            }

            int[] Draw(int depth, float[][] model, int[]? drafted)
            {
                float[] rowsOf(float[][] logits) => [.. paths[depth].SelectMany(token => logits[token])];
                SamplingRow[] rows = [.. unfinished.Select(i => Plain with { Seed = (ulong)i, Position = tokens[i].Count + depth })];
                return drafted is null
                    ? new Case(rowsOf(model), null, [.. rows.Select(row => row with { Seed = DraftSeed.Of(row.Seed) })], [.. rows.Select(_ => -1)]).Choose(device)
                    : new Case(rowsOf(model), rowsOf(draft), rows, drafted).Choose(device);
            }
        }

        return [.. tokens.Select(chain => 16 * chain[1] + 4 * chain[2] + chain[3])];
    }

    /// <summary>Nodes with logits of their own.</summary>
    private sealed record Case(float[] Target, float[]? Draft, SamplingRow[] Rows, int[] Drafted)
    {
        private int Vocabulary => Target.Length / Rows.Length;

        /// <summary>All settings, ties, forbidden tokens and NaN on both sides.</summary>
        public static Case Random(int seed, int nodes, int vocabulary)
        {
            var random = new Random(seed);
            float[] target = Logits(), draft = [.. Logits().Zip(target, (own, other) => random.Next(2) == 0 ? own : other)];
            SamplingRow[] rows = [.. Enumerable.Range(0, nodes).Select(_ => new SamplingRow(
                (ulong)random.NextInt64(), random.Next(100_000), random.Next(8) == 0 ? 0 : random.NextSingle() * 3, random.Next(2) * random.Next(vocabulary + 3),
                random.Next(3) switch { 0 => 1, 1 => random.NextSingle(), _ => 0.25f * random.Next(5) }, random.Next(3) == 0 ? random.NextSingle() * 0.5f : 0))];
            return new Case(target, draft, rows, [.. Enumerable.Range(0, nodes).Select(_ => random.Next(-1, vocabulary))]);

            float[] Logits() => [.. Numbers.Uniform(random.Next(), nodes * vocabulary, 5).Select((v, i) =>
                random.Next(20) == 0 ? (random.Next(2) == 0 ? float.NaN : Never) : i / vocabulary % 2 == 0 ? v : MathF.Round(v))];
        }

        public Case Node(int node)
        {
            Range columns = (node * Vocabulary)..((node + 1) * Vocabulary);
            return new Case(Target[columns], Draft?[columns], [Rows[node]], [Drafted[node]]);
        }

        public int[] Choose(Device device)
        {
            using var target = new GuardedMatrix(device, DType.F32, Rows.Length, Vocabulary, Target, gap: 1);
            using var draft = new GuardedMatrix(device, DType.F32, Rows.Length, (Draft ?? Target).Length / Rows.Length, Draft ?? Target, gap: 2);
            return Run(device, target, Draft is null ? default : draft.Matrix, Rows, Drafted);
        }
    }

    /// <summary>The same logits for every node, once in memory.</summary>
    private sealed class Trial(Device device, float[] target, float[]? draft, SamplingRow[] rows) : IDisposable
    {
        private readonly DeviceBuffer _target = device.Upload(target), _draft = device.Upload(draft ?? target);

        public int[] Draft(ulong seed) => Run(device, Repeated(_draft), default, [.. rows.Select(row => row with { Seed = seed })], [.. rows.Select(_ => -1)]);

        public int[] Sample() => Run(device, Repeated(_target), default, rows, [.. rows.Select(_ => -1)]);

        public int[] Choose(int[] drafted) => Run(device, Repeated(_target), draft is null ? default : Repeated(_draft), rows, drafted);

        public void Dispose()
        {
            _target.Dispose();
            _draft.Dispose();
        }

        private DeviceMatrix Repeated(DeviceBuffer row) => new(row, 0, rows.Length, target.Length, rowStride: 0, DType.F32);
    }

    /// <summary>RejectDrafts, or Sample where nothing at all was drafted.</summary>
    private static unsafe int[] Run(Device device, DeviceMatrix target, DeviceMatrix draft, SamplingRow[] rows, int[] drafted)
    {
        using DeviceBuffer settings = device.Allocate(DType.I8, rows.Length * sizeof(SamplingRow)), proposals = device.Upload(drafted);
        using var chosen = new GuardedMatrix(device, DType.I32, 1, rows.Length);
        var span = new DeviceSpan<SamplingRow>(settings, 0, rows.Length);
        span.CopyFrom(rows);
        if (draft.IsEmpty && drafted.All(token => token < 0)) device.Operators.Sample(target, span, chosen.Span<int>());
        else device.Operators.RejectDrafts(target, draft, span, proposals.AsSpan<int>(), chosen.Span<int>());
        chosen.AssertUntouchedAround();
        return chosen.Span<int>().ToArray();
    }
}
