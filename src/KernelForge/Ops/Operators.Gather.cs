namespace KernelForge;

public abstract partial class Operators
{
    /// <summary>result[i] = values[indices[i]]; where an index is negative, result[i] stays as it is.</summary>
    /// <param name="values">Whole numbers, such as token ids.</param>
    /// <param name="indices">Of values, one for each result.</param>
    /// <param name="result">Must not overlap the others.</param>
    public void Gather(DeviceSpan<int> values, DeviceSpan<int> indices, DeviceSpan<int> result)
    {
        CheckHere("Gather", values.Device, values.IsEmpty);
        CheckHere("Gather", indices.Device, indices.IsEmpty);
        CheckLength("Gather", "result", result, indices.Length);
        if (!indices.IsEmpty) GatherCore(values, indices, result);
    }

    /// <summary>Computes <see cref="Gather"/> on checked arguments.</summary>
    protected abstract void GatherCore(DeviceSpan<int> values, DeviceSpan<int> indices, DeviceSpan<int> result);
}
