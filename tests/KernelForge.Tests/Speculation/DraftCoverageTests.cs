namespace KernelForge.Tests;

public class DraftCoverageTests
{
    private static readonly SchedulerOptions Scarce = new()
    {
        BlockCount = 30, BlockSize = 4, ContextLength = 96, TokenBudget = 40, MaxTokensPerStep = 5, EndTokenIds = [HashRunner.EndToken], Admission = new AggressiveAdmission(),
    };

    [Theory]
    [InlineData(4, 40, true, DraftOutcome.AllRight)]
    [InlineData(4, 9, true, DraftOutcome.RightForTwo)]
    [InlineData(1, 40, true, DraftOutcome.RightForTwo)]
    [InlineData(16, 17, true, DraftOutcome.RightForTwo)]
    [InlineData(4, 40, false, DraftOutcome.AllWrong)]
    [InlineData(4, 12, false, DraftOutcome.RightForTwo)]
    public void LengthOf_RandomStepsWithPreemption_NeverCoversAPositionWithOtherTokens(int blockSize, int budget, bool prefixCache, DraftOutcome outcome)
    {
        long caughtUp = 0, preemptions = 0;
        for (int seed = 0; seed < 6; seed++)
        {
            SchedulerOptions options = Scarce with { BlockCount = 140 / blockSize, BlockSize = blockSize, TokenBudget = budget, PrefixCache = prefixCache };
            var run = new CoveredRun(options, outcome, new Random(seed)) { Eager = false };
            for (int samples = 1; samples <= 2; samples++) run.AddAll(Workload.Requests(samples, temperature: 1));
            run.Finish();
            (caughtUp, preemptions) = (caughtUp + run.CaughtUp, preemptions + run.Preemptions);
        }
        Assert.True(caughtUp > 500 && preemptions > 5, $"{caughtUp} tokens caught up, {preemptions} preemptions");
    }

    [Theory, InlineData(DraftOutcome.AllRight), InlineData(DraftOutcome.RightForTwo), InlineData(DraftOutcome.AllWrong)]
    public void LengthOf_RowsThatAlwaysCatchUp_NoPositionIsComputedTwice(DraftOutcome outcome)
    {
        var run = new CoveredRun(Scarce with { BlockCount = 600 }, outcome, new Random(1)) { Eager = true };
        ulong seed = 0; // all answers differ: of equal ones only one sequence's blocks are kept, which is no saving
        for (int i = 0; i < 3; i++)
            run.AddAll(Workload.Requests(2, temperature: 1).Select(request => new Request(request.PromptTokenIds.ToArray(), request.Sampling with { Seed = ++seed })));
        run.Finish();

        Assert.Equal(0, run.ComputedAgain);
        Assert.True(run.Drafted > 100, $"{run.Drafted} tokens were drafted");
    }

    [Fact]
    public void LengthOf_BlockInFrontIsNotCovered_EndsThere()
    {
        var coverage = new DraftCoverage(blocks: 8, blockSize: 4);
        coverage.Cover([1, 2, 3], 0, 10);

        Assert.Equal(10, coverage.LengthOf([1, 2, 3, 4]));
        Assert.Equal(8, coverage.LengthOf([1, 2]));
        Assert.Equal(4, coverage.LengthOf([1, 7, 3]));
        coverage.Cover([1, 7, 3], 4, 9);
        Assert.Equal(10, coverage.LengthOf([1, 7, 3])); // what was behind the gap counts again
        coverage.Forget([1, 2, 3], 6);
        Assert.Equal((6, 8), (coverage.LengthOf([1, 2, 3]), coverage.LengthOf([1, 7, 3])));
        Assert.Equal(0, coverage.LengthOf([]));
    }

    /// <summary>
    /// Steps of a real scheduler beside a draft model that stores, in the slot of each position, a hash of all tokens up to it. Rows catch up or not by chance.
    /// </summary>
    private sealed class CoveredRun(SchedulerOptions options, DraftOutcome outcome, Random random)
    {
        private readonly Scheduler _scheduler = new(options);
        private readonly HashRunner _runner = new(options.BlockCount, options.BlockSize, options.MaxTokensPerStep, outcome);
        private readonly DraftCoverage _coverage = new(options.BlockCount, options.BlockSize);
        private readonly int[] _slots = new int[options.BlockCount * options.BlockSize];
        private readonly List<Sequence> _sequences = [];

        /// <summary>Whether every row takes all that it lacks in every step.</summary>
        public bool Eager { get; init; }

        public long CaughtUp { get; private set; }

        public long Drafted { get; private set; }

        public long ComputedAgain { get; private set; }

        public long Preemptions => _scheduler.Counters.Preemptions;

        public void AddAll(IEnumerable<Request> requests)
        {
            foreach (Request request in requests) _sequences.AddRange(_scheduler.Add(request));
        }

        public void Finish()
        {
            while (_scheduler.HasWork)
            {
                if (!Eager && random.Next(20) == 0) _scheduler.Cancel(_sequences[random.Next(_sequences.Count)]);
                StepPlan plan = _scheduler.Plan();
                ForgetFreeBlocks();
                foreach (PlanRow row in plan.Rows) _coverage.Forget(row.Sequence.Table.Blocks, row.Start);
                bool[] drafts = [.. plan.Rows.ToArray().Select(CatchUp)]; // one pass: earlier rows serve later ones
                CheckAll(plan);
                StepResult result = _runner.Run(plan);
                for (int i = 0; i < drafts.Length; i++)
                    if (drafts[i]) Draft(plan.Rows[i], result.Tokens(i));
                _scheduler.Commit(plan, result);
            }
        }

        /// <summary>Takes some of what a row lacks; true when it took all, so that tokens can be drafted.</summary>
        private bool CatchUp(PlanRow row)
        {
            ReadOnlySpan<int> table = row.Sequence.Table.Blocks;
            int from = _coverage.LengthOf(table), lacks = row.Start + row.Length - from;
            int takes = Eager || random.Next(2) == 0 ? lacks : random.Next(3) == 0 ? 0 : random.Next(lacks);
            for (int position = from; position < from + takes; position++) Store(row.Sequence, position, Hash(row.Sequence.Tokens[..(position + 1)]));
            _coverage.Cover(table, from, from + takes);
            CaughtUp += from < row.Start ? Math.Min(takes, row.Start - from) : 0;
            return takes == lacks && row.Samples;
        }

        /// <summary>Drafted tokens but the last get keys and values; those that were not accepted are other tokens than the sequence's.</summary>
        private void Draft(in PlanRow row, ReadOnlySpan<int> gained)
        {
            int length = row.DraftTokens, start = row.Start + row.Length;
            List<int> tokens = [.. row.Sequence.Tokens];
            for (int i = 0; i < length - 1; i++)
            {
                tokens.Add(i < gained.Length - 1 ? gained[i] : -1);
                Store(row.Sequence, start + i, Hash([.. tokens]));
            }
            if (length > 1) _coverage.Cover(row.Sequence.Table.Blocks, start, start + length - 1);
            Drafted += length;
        }

        private void CheckAll(StepPlan plan)
        {
            foreach (PlanRow row in plan.Rows)
            {
                int covered = _coverage.LengthOf(row.Sequence.Table.Blocks);
                Assert.InRange(covered, 0, row.Start + row.Length);
                for (int position = 0; position < covered; position++)
                    Assert.Equal(Hash(row.Sequence.Tokens[..(position + 1)]), _slots[SlotOf(row.Sequence, position)]);
            }
        }

        private void ForgetFreeBlocks()
        {
            for (int block = 0; block < options.BlockCount; block++)
                if (_scheduler.Kv.Pool.References(block) == 0) _slots.AsSpan(block * options.BlockSize, options.BlockSize).Clear();
        }

        private void Store(Sequence sequence, int position, int value)
        {
            ref int slot = ref _slots[SlotOf(sequence, position)];
            if (slot == value) ComputedAgain++;
            slot = value;
        }

        private int SlotOf(Sequence sequence, int position) =>
            sequence.Table[position / options.BlockSize] * options.BlockSize + position % options.BlockSize;

        private static int Hash(ReadOnlySpan<int> tokens)
        {
            int hash = 17;
            foreach (int token in tokens) hash = unchecked((hash ^ token) * 16777619 + 1);
            return hash;
        }
    }
}
