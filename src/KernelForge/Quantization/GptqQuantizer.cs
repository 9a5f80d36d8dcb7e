using CommunityToolkit.HighPerformance;

namespace KernelForge;

/// <summary>
/// Quantises weights so that products with typical inputs change little: codes are chosen input by input, and the error of each is made up for by the
/// weights that are still to come (GPTQ, arXiv:2210.17323). What typical inputs are, the Hessian says: the sum of x · xᵀ over calibration tokens
/// (<see cref="Hessian"/>). Threads and vector widths change no bit.
/// </summary>
/// <remarks>
/// The objective ‖x · (W − Q)ᵀ‖² is the same quadratic for every output. With H⁻¹ = Uᵀ · U and e = (w[j] − q[j]) / U[j, j], the best answer of the weights
/// after j to the error of weight j is w[j + 1 ..] −= e · U[j, j + 1 ..]. Within a block of inputs that is done at once, for the inputs behind it
/// block by block. A group's scale and zero point are chosen when its first weight is due, from its weights as they then are. Inputs that calibration never
/// saw are rounded to nearest.
/// </remarks>
public sealed class GptqQuantizer
{
    private const int MaxInputs = 46_340; // the Hessian is one array

    private readonly GptqOptions _options;
    private readonly int[] _order;
    private readonly InverseFactor _factor;

    /// <summary>Factors a Hessian, which serves all weights that multiply the same x: K³ / 3 multiplications and K² doubles of memory.</summary>
    /// <param name="hessian">[K, K], symmetric; its upper triangle is read.</param>
    /// <param name="options">Damping, order and type of scales.</param>
    /// <param name="cancellationToken">Ends the work early.</param>
    /// <exception cref="ArgumentException">The Hessian is not square, not finite or not positive definite, or an option is out of range.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public GptqQuantizer(ReadOnlySpan2D<float> hessian, GptqOptions? options = null, CancellationToken cancellationToken = default)
    {
        _options = options ?? new GptqOptions();
        _options.Validate();
        Check.That(hessian.Height == hessian.Width && hessian.Height is > 0 and <= MaxInputs,
            $"GptqQuantizer: the Hessian is [{hessian.Height}, {hessian.Width}], expected [k, k] with k from 1 to {MaxInputs}");
        var diagonal = new float[hessian.Height];
        for (int i = 0; i < diagonal.Length; i++)
        {
            diagonal[i] = hessian[i, i];
            Check.That(diagonal[i] >= 0 && float.IsFinite(diagonal[i]), $"GptqQuantizer: the Hessian has {diagonal[i]} at [{i}, {i}], expected a sum of squares");
        }
        _order = [.. Enumerable.Range(0, diagonal.Length)];
        if (_options.ActivationOrder) _order = [.. _order.OrderByDescending(i => diagonal[i])]; // stable
        _factor = InverseFactor.Of(hessian, _order, _options.Damping, _options.Parallel(cancellationToken));
    }

    /// <summary>Inputs.</summary>
    public int K => _order.Length;

    /// <summary>Quantises the weights of some outputs.</summary>
    /// <param name="weights">[n, K], as checkpoints store them.</param>
    /// <param name="format">What codes mean.</param>
    /// <param name="cancellationToken">Ends the work early.</param>
    /// <exception cref="ArgumentException">The weights have other inputs than the Hessian or are not finite, or the format does not divide K.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public QuantizedMatrix Quantize(ReadOnlyMemory2D<float> weights, WeightFormat format, CancellationToken cancellationToken = default)
    {
        int n = weights.Height, groups = format.Groups(K);
        Check.That(weights.Width == K, $"GptqQuantizer: weights are [{n}, {weights.Width}] for a Hessian of {K} inputs");
        format.Check("GptqQuantizer", n, K);
        RequireFinite(weights.Span);

        var codes = new byte[n * (long)K];
        var scales = new float[n * (long)groups];
        byte[]? zeros = format.HasZeroPoints ? new byte[scales.LongLength] : null;
        bool keepsOrder = _options.ActivationOrder && format.GroupSize != 0;
        int[]? places = keepsOrder ? null : _order;
        Parallel.For(0, (n + GptqStrip.MaxRows - 1) / GptqStrip.MaxRows, _options.Parallel(cancellationToken), () => new GptqStrip(_factor, format, _options.ScaleType), (i, _, strip) =>
        {
            int row = i * GptqStrip.MaxRows;
            strip.Quantize(weights.Span.Slice(row, 0, Math.Min(GptqStrip.MaxRows, n - row), K), _order, cancellationToken);
            strip.CopyTo(codes, scales, zeros, row, places);
            return strip;
        }, _ => { });
        return new QuantizedMatrix(format, n, K, codes, scales, zeros, keepsOrder ? [.. _order] : null);
    }

    private static void RequireFinite(ReadOnlySpan2D<float> weights)
    {
        for (int row = 0; row < weights.Height; row++)
        {
            ReadOnlySpan<float> values = weights.GetRowSpan(row);
            for (int column = 0; column < values.Length; column++)
                Check.That(float.IsFinite(values[column]), $"GptqQuantizer: weight [{row}, {column}] is {values[column]}, expected finite weights");
        }
    }
}
