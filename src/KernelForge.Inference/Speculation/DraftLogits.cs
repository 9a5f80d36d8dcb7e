namespace KernelForge.Inference;

/// <summary>The logits that the proposals of a step were drawn from, copied out of each pass: an F32 row for each.</summary>
internal sealed class DraftLogits : IDisposable
{
    private readonly DeviceBuffer _logits, _numbers;
    private readonly int _vocabulary, _rows;

    /// <param name="device">Where they are.</param>
    /// <param name="rowsOfPass">Most rows of a pass.</param>
    /// <param name="passes">Most passes of a step.</param>
    /// <param name="vocabulary">Logits of a row.</param>
    public DraftLogits(Device device, int rowsOfPass, int passes, int vocabulary)
    {
        (_rows, _vocabulary) = (checked(rowsOfPass * passes), vocabulary);
        _logits = device.Allocate(DType.F32, (long)_rows * vocabulary);
        _numbers = device.Allocate(DType.I32, rowsOfPass);
        _numbers.AsSpan<int>().CopyFrom([.. Enumerable.Range(0, rowsOfPass)]);
    }

    /// <summary>Bytes of device memory.</summary>
    public static long Bytes(int rowsOfPass, int passes, int vocabulary) => ((long)rowsOfPass * passes * vocabulary + rowsOfPass) * sizeof(float);

    /// <summary>Copies the logits of a pass to the rows from <paramref name="first"/> on.</summary>
    public void Keep(in DeviceMatrix logits, int first)
    {
        if (logits.Rows == 0) return;
        DeviceMatrix kept = _logits.AsMatrix(_rows, _vocabulary).SliceRows(first, logits.Rows);
        logits.Device!.Operators.Embed(_numbers.AsSpan<int>().Slice(0, logits.Rows), logits, kept);
    }

    /// <summary>The rows of that many proposals.</summary>
    public DeviceMatrix Of(int proposals) => _logits.AsMatrix(_rows, _vocabulary).SliceRows(0, proposals);

    /// <inheritdoc/>
    public void Dispose()
    {
        _logits.Dispose();
        _numbers.Dispose();
    }
}
