namespace KernelForge;

/// <summary>
/// The sum of x · xᵀ over calibration tokens, gathered on a device by its matrix product: what <see cref="GptqQuantizer"/> needs to know about a layer's inputs.
/// </summary>
public sealed class Hessian : IDisposable
{
    private readonly DeviceBuffer _sums;

    /// <summary>A sum of nothing for inputs of that length.</summary>
    /// <exception cref="OutOfMemoryException">The device has no room for inputs² floats.</exception>
    public Hessian(Device device, int inputs)
    {
        ArgumentNullException.ThrowIfNull(device);
        Check.That(inputs > 0, $"Hessian: {inputs} inputs, expected at least one");
        K = inputs;
        _sums = device.Allocate(DType.F32, (long)inputs * inputs);
        var zeros = new byte[inputs * sizeof(float)];
        for (int row = 0; row < inputs; row++) _sums.CopyFrom(zeros, (long)row * zeros.Length);
    }

    /// <summary>Inputs.</summary>
    public int K { get; }

    /// <summary>Tokens so far.</summary>
    public long Tokens { get; private set; }

    private DeviceMatrix Sums => _sums.AsMatrix(K, K);

    /// <summary>Adds tokens. Products are exact in F32 where x has 16 bits; each call's sum is added in F32.</summary>
    /// <param name="x">[tokens, K], on the same device.</param>
    public void Add(in DeviceMatrix x)
    {
        Check.That(x.Columns == K && x.DType.IsFloat(), $"Hessian: x is {x}, expected floats of {K} columns");
        if (x.Rows == 0) return;
        using DeviceBuffer columns = Transposed(x);
        DeviceMatrix transposed = columns.AsMatrix(K, x.Rows);
        _sums.Device.Operators.MatMul(transposed, transposed, Sums, residual: Sums);
        Tokens += x.Rows;
    }

    /// <summary>The sum, copied to the host.</summary>
    public float[,] ToArray() => Sums.ToArray<float>();

    /// <inheritdoc/>
    public void Dispose() => _sums.Dispose();

    private static DeviceBuffer Transposed(in DeviceMatrix x) => x.DType switch
    {
        DType.F32 => Transposed<float>(x),
        DType.F16 => Transposed<Half>(x),
        _ => Transposed<BFloat16>(x),
    };

    /// <summary>[K, tokens] in new memory of the same device.</summary>
    private static DeviceBuffer Transposed<T>(in DeviceMatrix x) where T : unmanaged
    {
        const int Tile = 32; // cache lines of both matrices stay at hand
        T[,] rows = x.ToArray<T>(), columns = new T[x.Columns, x.Rows];
        for (int top = 0; top < x.Rows; top += Tile)
            for (int column = 0; column < x.Columns; column++)
                for (int row = top; row < Math.Min(top + Tile, x.Rows); row++) columns[column, row] = rows[row, column];
        return x.Device!.Upload<T>(columns);
    }
}
