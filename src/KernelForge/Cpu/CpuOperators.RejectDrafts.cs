using System.Numerics;

namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    private const float LeastNormal = 1.17549435e-38f; // residuals below it have no logarithm in LaneMath

    protected override void RejectDraftsCore(
        in DeviceMatrix logits, in DeviceMatrix draftLogits, DeviceSpan<SamplingRow> rows, DeviceSpan<int> drafted, DeviceSpan<int> chosen)
    {
        CheckSampling("RejectDrafts", rows);
        foreach (int token in drafted.OnCpu)
            Check.That(token >= -1 && token < logits.Columns, $"RejectDrafts: drafted token {token}, expected -1 for none or a column of {logits}");
        RunRows(new RejectDraftsWork(threads, logits, draftLogits, rows, drafted, chosen), logits.Rows, 2L * SiluCost * logits.Columns);
    }

    private readonly struct RejectDraftsWork(
        CpuThreads threads, DeviceMatrix logits, DeviceMatrix draftLogits, DeviceSpan<SamplingRow> rows, DeviceSpan<int> drafted, DeviceSpan<int> chosen) : ILaneWork
    {
        public void Run<TLanes>(int part, int parts) where TLanes : struct, ILanes<TLanes>
        {
            int columns = logits.Columns;
            var room = new Span<ulong>(threads.Scratch(part, (long)columns * sizeof(ulong)), columns);
            RowRange range = RowRange.Of(logits.Rows, part, parts);
            for (int node = range.Start; node < range.End; node++)
            {
                var target = (float*)logits.RowAddress(node);
                float* draft = draftLogits.IsEmpty ? null : (float*)draftLogits.RowAddress(node);
                SamplingRow row = rows.OnCpu[node];
                int token = drafted.OnCpu[node];
                chosen.OnCpu[node] = token < 0 ? Draw<TLanes>(target, columns, row, room) : AcceptOrDraw<TLanes>(target, draft, columns, token, row, room);
            }
        }
    }

    /// <summary>The drafted token where u · q(x) &lt; p(x), else a draw from the residual.</summary>
    private static int AcceptOrDraw<TLanes>(float* logits, float* draftLogits, int length, int drafted, in SamplingRow row, Span<ulong> room)
        where TLanes : struct, ILanes<TLanes>
    {
        float largest = LargestOf<TLanes, float>(logits, length);
        if (IsCertain(row, largest)) return FirstOf<TLanes, float>(logits, length, largest);

        var target = new TokenDistribution<TLanes>(SamplingFilter.Of(new ScaledLogits<TLanes>(logits, length, largest, row.Temperature), row, room));
        Draft<TLanes> draft = Draft<TLanes>.Of(draftLogits, length, drafted, row, room);
        float* p = stackalloc float[Lanes.Count], q = stackalloc float[Lanes.Count];
        int first = drafted / Lanes.Count * Lanes.Count, lane = drafted % Lanes.Count;
        target.Probabilities(first, p);
        draft.Probabilities(first, q);
        float u = Philox.UniformNumber(row.Seed, row.Position, RandomPurpose.Acceptance);
        return u * q[lane] < p[lane] ? drafted : DrawResidual(target, draft, new GumbelNoise(row.Seed, row.Position, RandomPurpose.Residual));
    }

    /// <summary>A draw from what the target has more than the draft: argmax of log(p - q) + noise; the drafted token where there is nothing.</summary>
    private static int DrawResidual<TLanes>(in TokenDistribution<TLanes> target, in Draft<TLanes> draft, GumbelNoise noise) where TLanes : struct, ILanes<TLanes>
    {
        float* p = stackalloc float[Lanes.Count], q = stackalloc float[Lanes.Count], totals = stackalloc float[Lanes.Count];
        TLanes reach = TLanes.Fill(GumbelNoise.Largest), least = TLanes.Fill(LeastNormal);
        (float best, int token) = (float.NegativeInfinity, draft.Token);
        for (int i = 0; i < target.Length; i += Lanes.Count)
        {
            target.Probabilities(i, p);
            draft.Probabilities(i, q);
            TLanes residual = TLanes.Load(p) - TLanes.Load(q), score = LaneMath.Log(TLanes.Max(residual, least));
            uint mask = TLanes.GreaterOrEqual(residual, least) & TLanes.GreaterOrEqual(score + reach, TLanes.Fill(best));
            if (mask == 0) continue;
            TLanes.Store(score + noise.Next<TLanes>(i), totals);
            for (; mask != 0; mask &= mask - 1)
            {
                int lane = BitOperations.TrailingZeroCount(mask);
                if (totals[lane] > best) (best, token) = (totals[lane], i + lane); // ids ascend: of equal ones the first stays
            }
        }

        return token;
    }

    /// <summary>What a drafted token was drawn from: a distribution, or that token for certain.</summary>
    private readonly struct Draft<TLanes> where TLanes : struct, ILanes<TLanes>
    {
        private readonly bool _isCertain;
        private readonly TokenDistribution<TLanes> _distribution;

        private Draft(int token, bool isCertain, in TokenDistribution<TLanes> distribution) => (Token, _isCertain, _distribution) = (token, isCertain, distribution);

        public int Token { get; }

        public static Draft<TLanes> Of(float* logits, int length, int token, in SamplingRow row, Span<ulong> room)
        {
            if (logits == null) return new Draft<TLanes>(token, true, default);
            float largest = LargestOf<TLanes, float>(logits, length);
            if (IsCertain(row, largest)) return new Draft<TLanes>(token, true, default);
            var scaled = new ScaledLogits<TLanes>(logits, length, largest, row.Temperature);
            return new Draft<TLanes>(token, false, new TokenDistribution<TLanes>(SamplingFilter.Of(scaled, row, room)));
        }

        /// <summary>As <see cref="TokenDistribution{TLanes}.Probabilities"/>.</summary>
        public void Probabilities(int index, float* result)
        {
            if (!_isCertain)
            {
                _distribution.Probabilities(index, result);
                return;
            }

            new Span<float>(result, Lanes.Count).Clear();
            if (Token >= index && Token < index + Lanes.Count) result[Token - index] = 1;
        }
    }
}
