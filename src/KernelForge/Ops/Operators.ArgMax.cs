namespace KernelForge;

public abstract partial class Operators
{
    /// <summary>Column of the largest element of every row; the lowest one among equals. NaN never wins; a row of NaN gives 0.</summary>
    /// <param name="logits">[rows, columns], at least one column.</param>
    /// <param name="result">[rows].</param>
    public void ArgMax(in DeviceMatrix logits, DeviceSpan<int> result)
    {
        CheckFloat("ArgMax", "logits", logits);
        CheckLength("ArgMax", "result", result, logits.Rows);
        Check.That(logits.Columns > 0, $"ArgMax: logits is {logits}, expected at least one column");
        if (logits.Rows > 0) ArgMaxCore(logits, result);
    }

    /// <summary>Computes <see cref="ArgMax"/> on checked arguments.</summary>
    protected abstract void ArgMaxCore(in DeviceMatrix logits, DeviceSpan<int> result);
}
