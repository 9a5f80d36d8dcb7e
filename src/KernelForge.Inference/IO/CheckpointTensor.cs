namespace KernelForge.Inference;

/// <summary>One tensor of an open checkpoint, of a float type that operators take.</summary>
internal readonly struct CheckpointTensor(SafetensorsFile file, SafetensorsEntry entry)
{
    /// <summary>Element type.</summary>
    public DType Type { get; } = file.TypeOf(entry);

    /// <summary>Elements.</summary>
    public long Elements => entry.Length / Type.Size();

    /// <summary>Bytes of the elements start .. start + count - 1, in the mapped file.</summary>
    public ReadOnlySpan<byte> Bytes(long start, int count) => file.Bytes(entry, start * Type.Size(), count * Type.Size());

    /// <summary>The mapped file as memory of a CPU device, valid until the checkpoint is disposed.</summary>
    public DeviceBuffer Map(Device device) => file.Load(device, entry);

    /// <summary>The bytes are not needed soon: their pages may leave this process. They stay readable.</summary>
    public void Release() => file.Release(entry);
}
