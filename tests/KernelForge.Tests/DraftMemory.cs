namespace KernelForge.Tests;

/// <summary>The operands of a verification on a device.</summary>
internal sealed unsafe class DraftMemory : IDisposable
{
    private readonly DeviceBuffer _rows, _parents, _tokens, _chosen, _stops;
    private readonly GuardedMatrix _result;

    public DraftMemory(Device device, DraftTrees trees)
    {
        int rows = trees.Rows.Length;
        _rows = device.Allocate(DType.I8, rows * sizeof(DraftRow));
        (_parents, _tokens, _chosen, _stops) = (device.Upload(trees.Parents), device.Upload(trees.Tokens), device.Upload(trees.Chosen), device.Upload(trees.Stops));
        _result = new GuardedMatrix(device, DType.I32, 1, VerifiedDrafts.MemoryLength(rows, trees.Nodes));
        Rows = new DeviceSpan<DraftRow>(_rows, 0, rows);
        Rows.CopyFrom(trees.Rows);
        Verified = new VerifiedDrafts(_result.Span<int>(), rows, trees.Nodes);
    }

    public DeviceSpan<DraftRow> Rows { get; }

    public VerifiedDrafts Verified { get; }

    public void Verify(Operators operators, int blockSize) =>
        operators.VerifyDrafts(Rows, _parents.AsSpan<int>(), _tokens.AsSpan<int>(), _chosen.AsSpan<int>(), _stops.AsSpan<int>(), blockSize, Verified);

    public void AssertUntouchedAround() => _result.AssertUntouchedAround();

    public void Dispose()
    {
        foreach (DeviceBuffer buffer in (DeviceBuffer[])[_rows, _parents, _tokens, _chosen, _stops]) buffer.Dispose();
        _result.Dispose();
    }
}
