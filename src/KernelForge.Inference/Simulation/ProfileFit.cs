namespace KernelForge.Inference;

/// <summary>A device profile fitted to the times of steps, and how well it fits them.</summary>
/// <param name="Profile">The profile.</param>
/// <param name="Error">Its errors on the steps it was fitted to.</param>
public sealed record ProfileFit(DeviceProfile Profile, PredictionError Error)
{
    private const int Terms = 6, Constant = 0, Matrix = 1, Weights = 2, Attended = 3, Read = 4, Row = 5;
    private const int MostRounds = 20;
    private const double Outlier = 0.1; // relative error beyond which a step counts less
    private const double Least = 1e-18; // seconds of an operation or byte that no time was seen for

    private static readonly int[] Tiles = [1, 2, 4, 8, 16, 32, 64, 128];

    /// <summary>
    /// Fits the constants of <see cref="CostModel"/>: least squares of the relative error, steps that are far off counting less (Huber), no term negative.
    /// Tiles and whether arithmetic hides traffic are those with which it fits best.
    /// </summary>
    /// <remarks>
    /// Steps of one model cannot tell apart what is the same in all of them. Where arithmetic and traffic add up, weights are taken to be read at the rate of
    /// keys and values; where every step takes less than that, caches hold them. What is left of the time that every step takes is divided by the layers.
    /// </remarks>
    /// <param name="timings">Steps of one model on one device.</param>
    /// <param name="model">That model.</param>
    /// <param name="name">What the profile is to be called.</param>
    /// <param name="memoryBytes">The device's memory.</param>
    /// <exception cref="ArgumentException">There are too few steps, or their times are not positive.</exception>
    public static ProfileFit Of(IReadOnlyList<StepTiming> timings, ModelShape model, string name, long memoryBytes)
    {
        ArgumentNullException.ThrowIfNull(timings);
        ArgumentNullException.ThrowIfNull(model);
        if (timings.Count < 2 * Terms)
            throw new ArgumentException($"A profile needs the times of {2 * Terms} steps or more, got {timings.Count}.", nameof(timings));
        foreach (StepTiming timing in timings)
            if (!(timing.Seconds > 0) || timing.Shape.Tokens < 1)
                throw new ArgumentException($"A step of {timing.Shape.Tokens} tokens took {timing.Seconds} s; expected more than 0 of both.", nameof(timings));

        DeviceProfile? best = null;
        double bestLoss = double.PositiveInfinity;
        foreach (double overlap in (ReadOnlySpan<double>)[0, 1])
        {
            foreach (int tile in Tiles)
            {
                DeviceProfile candidate = Fit(timings, model, Start(name, memoryBytes, tile, overlap));
                double loss = Loss(timings, new CostModel(candidate, model));
                if (loss < 0.99 * bestLoss) (best, bestLoss) = (candidate, loss); // the simpler one comes first
            }
        }
        return new ProfileFit(best!, PredictionError.Of(new CostModel(best!, model), timings));
    }

    /// <summary>Takes turns: which side of each roofline is longer under the rates so far, and the rates that fit best with these sides.</summary>
    private static DeviceProfile Fit(IReadOnlyList<StepTiming> timings, ModelShape model, DeviceProfile profile)
    {
        DeviceProfile best = profile;
        double bestLoss = double.PositiveInfinity;
        for (int round = 0; round < MostRounds; round++)
        {
            profile = Refit(timings, new CostModel(profile, model), isFirst: round == 0);
            double loss = Loss(timings, new CostModel(profile, model));
            if (loss < bestLoss) (best, bestLoss) = (profile, loss);
        }
        return best;
    }

    private static DeviceProfile Refit(IReadOnlyList<StepTiming> timings, CostModel before, bool isFirst)
    {
        var fit = new NonNegativeFit(Terms);
        Span<double> terms = stackalloc double[Terms];
        foreach (StepTiming timing in timings)
        {
            TermsOf(before, timing.Shape, terms);
            foreach (ref double term in terms) term /= timing.Seconds;
            double error = isFirst ? 0 : Math.Abs(before.SecondsOf(timing.Shape) / timing.Seconds - 1);
            fit.Add(terms, 1, error > Outlier ? Outlier / error : 1);
        }
        return ProfileOf(fit.Solve(), before.Device, before.Model);
    }

    /// <summary>What each coefficient is multiplied with in the time of a step.</summary>
    private static void TermsOf(CostModel cost, in StepShape shape, Span<double> terms)
    {
        terms.Clear();
        ModelShape model = cost.Model;
        double hidden = 1 - cost.Device.Overlap;
        terms[Constant] = 1;
        terms[Row] = shape.LogitRows;
        AddRoofline(terms, Matrix, model.FlopsPerToken * cost.Rounded(shape.Tokens), cost.Device.MatrixFlops,
            Weights, model.LinearBytes, cost.WeightRate, hidden);
        AddRoofline(terms, Attended, model.FlopsPerAttendedPosition * shape.AttendedPositions, cost.Device.MatrixFlops * cost.Device.AttentionEfficiency,
            Read, (double)model.KvBytesPerToken * shape.ReadPositions, cost.KvRate, hidden);
        if (shape.LogitRows > 0)
            AddRoofline(terms, Matrix, model.FlopsPerLogitRow * cost.Rounded(shape.LogitRows), cost.Device.MatrixFlops,
                Weights, model.HeadBytes, cost.WeightRate, hidden);
        if (cost.Device.Overlap == 0) terms[Weights] = 0; // the same in every step: part of the constant
    }

    private static void AddRoofline(
        Span<double> terms, int arithmetic, double flops, double flopRate, int traffic, double bytes, double byteRate, double hidden)
    {
        bool isArithmetic = flops / flopRate >= bytes / byteRate;
        terms[arithmetic] += flops * (isArithmetic ? 1 : hidden);
        terms[traffic] += bytes * (isArithmetic ? hidden : 1);
    }

    private static DeviceProfile ProfileOf(double[] seconds, DeviceProfile before, ModelShape model)
    {
        double flops = RateOf(seconds[Matrix]), kvRate = RateOf(seconds[Read]), weightRate = kvRate, constant = seconds[Constant];
        bool isCached = seconds[Weights] == 0;
        if (before.Overlap == 0)
        {
            double reading = (model.LinearBytes + model.HeadBytes) / kvRate;
            isCached = reading > constant;
            if (!isCached) constant -= reading;
        }
        else if (!isCached) weightRate = RateOf(seconds[Weights]);
        return before with
        {
            MatrixFlops = flops,
            AttentionEfficiency = RateOf(seconds[Attended]) / flops,
            MemoryBytesPerSecond = weightRate,
            AttentionMemoryEfficiency = kvRate / weightRate,
            CacheBytes = isCached ? model.WeightBytes : 0,
            LayerSeconds = constant / model.Layers,
            RowSeconds = seconds[Row],
        };
    }

    private static double RateOf(double seconds) => 1 / Math.Max(seconds, Least);

    /// <summary>Where the turns start: a device on which 100 operations take as long as a byte.</summary>
    private static DeviceProfile Start(string name, long memoryBytes, int tile, double overlap) => new()
    {
        Name = name, MatrixFlops = 1e12, MemoryBytesPerSecond = 1e10, MemoryBytes = memoryBytes, TileTokens = tile, Overlap = overlap,
    };

    private static double Loss(IReadOnlyList<StepTiming> timings, CostModel cost)
    {
        double loss = 0;
        foreach (StepTiming timing in timings)
        {
            double error = Math.Abs(cost.SecondsOf(timing.Shape) / timing.Seconds - 1);
            loss += error <= Outlier ? error * error / 2 : Outlier * (error - Outlier / 2);
        }
        return loss;
    }
}
