using System.Buffers;

namespace KernelForge.Inference;

/// <summary>
/// The tensors of a checkpoint on a device, in the type that the activations ask for: F32 takes them as they are stored, F16 and BF16 as themselves.
/// On the CPU a tensor that has its type already is the mapped file; all others are copied, a bounded piece at a time. Quantised weights are packed, and where
/// the caller wants it the dense weights of linear layers; what a <see cref="PackedFile"/> has of them is that file, mapped.
/// </summary>
internal sealed class ModelWeights : IDisposable
{
    private const int PieceBytes = 8 << 20; // a multiple of every element size
    private const int GatedUnit = 8;
    private const string WeightSuffix = ".weight";

    private readonly Device _device;
    private readonly Checkpoint _checkpoint;
    private readonly DType _computeType;
    private readonly IProgress<double>? _progress;
    private readonly CancellationToken _cancellation;
    private readonly QuantizationConfig? _quantization;
    private readonly bool _packsDense;
    private readonly PackedFile? _packedFile;
    private readonly List<IDisposable> _copies = [];
    private readonly List<PackedModule> _packed = [];
    private readonly long _bytes;
    private long _loaded;
    private bool _usesFiles;

    /// <param name="device">Where to.</param>
    /// <param name="checkpoint">Where from; owned from now on, and closed by <see cref="Complete"/> when nothing is mapped.</param>
    /// <param name="quantization">How linear layers are stored; null where none is quantised.</param>
    /// <param name="computeType">Type of the activations.</param>
    /// <param name="progress">Told the share of the checkpoint that is loaded, from 0 to 1, after every piece.</param>
    /// <param name="cancellation">Looked at before every piece.</param>
    /// <param name="packsDense">Packs dense weights of linear layers, a whole matrix at a time; only where <see cref="DenseWeights.IsFor"/> the device.</param>
    /// <param name="packedFile">Has all packed weights of this checkpoint, for activations of that type; owned from now on.</param>
    public ModelWeights(
        Device device, Checkpoint checkpoint, QuantizationConfig? quantization, DType computeType, IProgress<double>? progress, CancellationToken cancellation,
        bool packsDense = false, PackedFile? packedFile = null)
    {
        (_device, _checkpoint, _quantization, _packsDense, _packedFile) = (device, checkpoint, quantization, packsDense, packedFile);
        (_computeType, _progress, _cancellation) = (computeType, progress, cancellation);
        _bytes = checkpoint.SizeInBytes;
    }

    /// <summary>What linear layers round their inputs to.</summary>
    public ActivationPrecision Activations { get; init; } = ActivationPrecision.Full;

    /// <summary>Everything that is packed, as it was loaded.</summary>
    public IReadOnlyList<PackedModule> Packed => _packed;

    /// <summary>A tensor of that shape, valid until this is disposed; 1 row for a vector.</summary>
    /// <exception cref="ModelFormatException">There is no such tensor, or it has another shape or an unsupported type.</exception>
    /// <exception cref="OperationCanceledException">The load was cancelled.</exception>
    public DeviceMatrix Load(string name, int rows, int columns)
    {
        CheckpointTensor tensor = _checkpoint.Find(name, rows, columns);
        DType type = TypeOf(tensor);
        if (!_device.IsCpu || type != tensor.Type) return Keep(Copy(tensor, type)).AsMatrix(rows, columns);

        _usesFiles = true;
        return tensor.Map(_device).AsMatrix(rows, columns);
    }

    /// <summary>A tensor of that shape, packed and valid until this is disposed; null where dense weights are not packed.</summary>
    /// <inheritdoc cref="Load" path="/exception"/>
    public DenseWeights? LoadDense(string name, int outputs, int inputs)
    {
        if (!_packsDense) return null;
        CheckpointTensor tensor = _checkpoint.Find(name, outputs, inputs);
        if (_packedFile is not null) return Keep(name, _packedFile.Dense(_device, name, TypeOf(tensor), outputs, inputs, isGated: false), tensor);
        using Rows rows = Read(tensor, outputs, inputs);
        return Keep(name, DenseWeights.Pack(rows.Matrix), tensor);
    }

    /// <summary>Gate and up projection in one; null where dense weights are not packed, or these differ in type or have no multiple of 8 outputs.</summary>
    /// <inheritdoc cref="Load" path="/exception"/>
    public DenseWeights? LoadDenseGated(string gateModule, string upModule, int outputs, int inputs)
    {
        if (!_packsDense || outputs % GatedUnit != 0 || IsQuantized(gateModule) || IsQuantized(upModule)) return null;
        CheckpointTensor gate = _checkpoint.Find(gateModule + WeightSuffix, outputs, inputs), up = _checkpoint.Find(upModule + WeightSuffix, outputs, inputs);
        if (TypeOf(gate) != TypeOf(up)) return null;
        string name = PackedFile.Gated(gateModule + WeightSuffix);
        if (_packedFile is not null) return Keep(name, _packedFile.Dense(_device, name, TypeOf(gate), 2 * outputs, inputs, isGated: true), gate, up);
        using Rows gateRows = Read(gate, outputs, inputs), upRows = Read(up, outputs, inputs);
        return Keep(name, DenseWeights.PackGated(gateRows.Matrix, upRows.Matrix), gate, up);
    }

    /// <summary>The weights of a module, packed and valid until this is disposed; null where they are not quantised.</summary>
    /// <exception cref="ModelFormatException">They cannot be read; says why.</exception>
    /// <exception cref="OperationCanceledException">The load was cancelled.</exception>
    public PackedWeights? LoadPacked(string module, int outputs, int inputs)
    {
        if (!IsQuantized(module)) return null;
        if (_packedFile is not null) return Keep(module, _packedFile.Quantized(_device, module, outputs, inputs), module);
        using WordMatrix words = Read(module, outputs, inputs);
        return Keep(module, PackedWeights.Pack(words), module);
    }

    /// <summary>Gate and up projection in one; null where they are not both quantised, in one format and order, with a multiple of 8 outputs.</summary>
    /// <inheritdoc cref="LoadPacked" path="/exception"/>
    public PackedWeights? LoadGated(string gateModule, string upModule, int outputs, int inputs)
    {
        if (!IsQuantized(gateModule) || !IsQuantized(upModule) || outputs % GatedUnit != 0) return null;
        string name = PackedFile.Gated(gateModule);
        if (_packedFile is not null)
            return _packedFile.HasQuantized(name) ? Keep(name, _packedFile.Quantized(_device, name, 2 * outputs, inputs), gateModule, upModule) : null;
        using WordMatrix gate = Read(gateModule, outputs, inputs), up = Read(upModule, outputs, inputs);
        return gate.Order.AsSpan().SequenceEqual(up.Order) ? Keep(name, PackedWeights.PackGated(gate, up), gateModule, upModule) : null;
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
        _packedFile?.Dispose();
    }

    private DType TypeOf(in CheckpointTensor tensor) => _computeType == DType.F32 ? tensor.Type : _computeType;

    private bool IsQuantized(string module) => _quantization is { } quantization && _checkpoint.Contains(module + quantization.CodesSuffix);

    private WordMatrix Read(string module, int outputs, int inputs)
    {
        _cancellation.ThrowIfCancellationRequested();
        return _quantization!.Read(_checkpoint, module, outputs, inputs, _device, _cancellation);
    }

    /// <summary>A tensor in its type for as long as it is packed: the mapped file, or a copy.</summary>
    private Rows Read(in CheckpointTensor tensor, int rows, int columns)
    {
        _cancellation.ThrowIfCancellationRequested();
        DType type = TypeOf(tensor);
        DeviceBuffer buffer = type == tensor.Type ? tensor.Map(_device) : Copy(tensor, type);
        return new Rows(buffer, buffer.AsMatrix(rows, columns));
    }

    /// <summary>Pages of tensors that are packed are not needed any more.</summary>
    private PackedWeights Keep(string name, PackedWeights packed, params ReadOnlySpan<string> modules)
    {
        _copies.Add(packed);
        _packed.Add(new PackedModule(name, null, packed));
        foreach (string module in modules)
        {
            _checkpoint.Release(module);
            _loaded += _checkpoint.BytesOf(module);
        }
        Report();
        return packed;
    }

    private DenseWeights Keep(string name, DenseWeights packed, params ReadOnlySpan<CheckpointTensor> tensors)
    {
        _copies.Add(packed);
        _packed.Add(new PackedModule(name, packed, null));
        foreach (CheckpointTensor tensor in tensors)
        {
            tensor.Release();
            if (TypeOf(tensor) == tensor.Type) _loaded += tensor.Elements * tensor.Type.Size(); // else counted by its copy
        }
        Report();
        return packed;
    }

    private DeviceBuffer Keep(DeviceBuffer copy)
    {
        _copies.Add(copy);
        return copy;
    }

    private void Report() => _progress?.Report(Math.Min(1, (double)_loaded / _bytes));

    private DeviceBuffer Copy(in CheckpointTensor tensor, DType type)
    {
        DeviceBuffer copy = _device.Allocate(type, tensor.Elements);
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
                Report();
            }
            return copy;
        }
        catch
        {
            copy.Dispose();
            throw;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(converted);
        }
    }

    private static ReadOnlySpan<byte> Convert(ReadOnlySpan<byte> piece, DType from, byte[] room, DType to)
    {
        if (from == to) return piece;
        Span<byte> converted = room.AsSpan(0, piece.Length / from.Size() * to.Size());
        DTypes.Convert(piece, from, converted, to);
        return converted;
    }

    /// <summary>A tensor's rows until they are packed.</summary>
    private readonly record struct Rows(DeviceBuffer Buffer, DeviceMatrix Matrix) : IDisposable
    {
        public void Dispose() => Buffer.Dispose();
    }
}

/// <summary>Packed weights and their name in a <see cref="PackedFile"/>: dense or quantised.</summary>
internal readonly record struct PackedModule(string Name, DenseWeights? Dense, PackedWeights? Quantized)
{
    public DeviceBuffer Buffer => Dense?.Buffer ?? Quantized!.Buffer;
}
