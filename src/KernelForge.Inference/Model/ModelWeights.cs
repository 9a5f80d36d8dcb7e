using System.Buffers;

namespace KernelForge.Inference;

/// <summary>
/// The tensors of a checkpoint on a device, in the type that the activations ask for: F32 takes them as they are stored, F16 and BF16 as themselves.
/// On the CPU a tensor that has its type already is the mapped file; all others are copied, a bounded piece at a time. Quantised weights are packed.
/// </summary>
internal sealed class ModelWeights : IDisposable
{
    private const int PieceBytes = 8 << 20; // a multiple of every element size

    private readonly Device _device;
    private readonly Checkpoint _checkpoint;
    private readonly DType _computeType;
    private readonly IProgress<double>? _progress;
    private readonly CancellationToken _cancellation;
    private readonly QuantizationConfig? _quantization;
    private readonly List<IDisposable> _copies = [];
    private readonly long _bytes;
    private long _loaded;
    private bool _usesFiles;

    /// <param name="device">Where to.</param>
    /// <param name="checkpoint">Where from; owned from now on, and closed by <see cref="Complete"/> when nothing is mapped.</param>
    /// <param name="quantization">How linear layers are stored; null where none is quantised.</param>
    /// <param name="computeType">Type of the activations.</param>
    /// <param name="progress">Told the share of the checkpoint that is loaded, from 0 to 1, after every piece.</param>
    /// <param name="cancellation">Looked at before every piece.</param>
    public ModelWeights(
        Device device, Checkpoint checkpoint, QuantizationConfig? quantization, DType computeType, IProgress<double>? progress, CancellationToken cancellation)
    {
        (_device, _checkpoint, _quantization) = (device, checkpoint, quantization);
        (_computeType, _progress, _cancellation) = (computeType, progress, cancellation);
        _bytes = checkpoint.SizeInBytes;
    }

    /// <summary>A tensor of that shape, valid until this is disposed; 1 row for a vector.</summary>
    /// <exception cref="ModelFormatException">There is no such tensor, or it has another shape or an unsupported type.</exception>
    /// <exception cref="OperationCanceledException">The load was cancelled.</exception>
    public DeviceMatrix Load(string name, int rows, int columns)
    {
        CheckpointTensor tensor = _checkpoint.Find(name, rows, columns);
        DType type = _computeType == DType.F32 ? tensor.Type : _computeType;
        if (!_device.IsCpu || type != tensor.Type) return Copy(tensor, type).AsMatrix(rows, columns);

        _usesFiles = true;
        return tensor.Map(_device).AsMatrix(rows, columns);
    }

    /// <summary>The weights of a module, packed and valid until this is disposed; null where they are not quantised.</summary>
    /// <exception cref="ModelFormatException">They cannot be read; says why.</exception>
    /// <exception cref="OperationCanceledException">The load was cancelled.</exception>
    public PackedWeights? LoadPacked(string module, int outputs, int inputs)
    {
        if (!IsQuantized(module)) return null;
        using WordMatrix words = Read(module, outputs, inputs);
        return Keep(PackedWeights.Pack(words), module);
    }

    /// <summary>Gate and up projection in one; null where they are not both quantised, in one format and order, with a multiple of 8 outputs.</summary>
    /// <inheritdoc cref="LoadPacked" path="/exception"/>
    public PackedWeights? LoadGated(string gateModule, string upModule, int outputs, int inputs)
    {
        if (!IsQuantized(gateModule) || !IsQuantized(upModule) || outputs % 8 != 0) return null;
        using WordMatrix gate = Read(gateModule, outputs, inputs), up = Read(upModule, outputs, inputs);
        return gate.Order.AsSpan().SequenceEqual(up.Order) ? Keep(PackedWeights.PackGated(gate, up), gateModule, upModule) : null;
    }

    /// <summary>All tensors are loaded: closes the files unless some of them are in use.</summary>
    public void Complete()
    {
        if (!_usesFiles) _checkpoint.Dispose();
        _progress?.Report(1);
    }

    public void Dispose()
    {
        foreach (IDisposable copy in _copies) copy.Dispose();
        _checkpoint.Dispose();
    }

    private bool IsQuantized(string module) => _quantization is { } quantization && _checkpoint.Contains(module + quantization.CodesSuffix);

    private WordMatrix Read(string module, int outputs, int inputs)
    {
        _cancellation.ThrowIfCancellationRequested();
        return _quantization!.Read(_checkpoint, module, outputs, inputs, _device, _cancellation);
    }

    private PackedWeights Keep(PackedWeights packed, params ReadOnlySpan<string> modules)
    {
        _copies.Add(packed);
        foreach (string module in modules) _loaded += _checkpoint.BytesOf(module);
        _progress?.Report((double)_loaded / _bytes);
        return packed;
    }

    private DeviceBuffer Copy(in CheckpointTensor tensor, DType type)
    {
        DeviceBuffer copy = _device.Allocate(type, tensor.Elements);
        _copies.Add(copy);
        int pieceElements = PieceBytes / tensor.Type.Size();
        byte[] converted = ArrayPool<byte>.Shared.Rent(pieceElements * type.Size());
        try
        {
            for (long start = 0; start < tensor.Elements; start += pieceElements)
            {
                _cancellation.ThrowIfCancellationRequested();
                ReadOnlySpan<byte> piece = tensor.Bytes(start, (int)Math.Min(pieceElements, tensor.Elements - start));
                copy.CopyFrom(Convert(piece, tensor.Type, converted, type), start * type.Size());
                _loaded += piece.Length;
                _progress?.Report((double)_loaded / _bytes);
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(converted);
        }
        return copy;
    }

    private static ReadOnlySpan<byte> Convert(ReadOnlySpan<byte> piece, DType from, byte[] room, DType to)
    {
        if (from == to) return piece;
        Span<byte> converted = room.AsSpan(0, piece.Length / from.Size() * to.Size());
        DTypes.Convert(piece, from, converted, to);
        return converted;
    }
}
