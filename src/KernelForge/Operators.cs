namespace KernelForge;

/// <summary>
/// What a device can compute. Public methods check their arguments once for every device; the protected <c>...Core</c> methods compute.
/// Nothing here allocates device memory or waits for the device.
/// </summary>
/// <remarks>
/// <list type="table">
/// <item><term><see cref="Embed"/></term><description>rows of a table, by index</description></item>
/// <item><term><see cref="RmsNorm"/>, <see cref="AddRmsNorm"/></term><description>root-mean-square normalisation, with a residual stream</description></item>
/// <item><term><see cref="MatMul(in DeviceMatrix, in DeviceMatrix, in DeviceMatrix, in DeviceMatrix, in DeviceMatrix)"/></term><description>x · Wᵀ + bias + residual, with a matrix or on the CPU with <see cref="DenseWeights"/></description></item>
/// <item><term><see cref="MatMulW4"/>, <see cref="MatMulW8"/></term><description>the same with 4-bit or 8-bit weights, gated or not</description></item>
/// <item><term><see cref="Rope"/></term><description>rotary position embedding</description></item>
/// <item><term><see cref="AppendKv"/></term><description>keys and values into a paged cache</description></item>
/// <item><term><see cref="Attention(in DeviceMatrix, in KvLayer, AttentionPlan, float, in DeviceMatrix, float)"/></term><description>causal attention of variable-length queries over a paged cache</description></item>
/// <item><term><see cref="PrefixAttention"/>, <see cref="MergeAttention"/></term><description>attention over a dense shared prefix; joining parts</description></item>
/// <item><term><see cref="SiluMul"/></term><description>the gate of a gated MLP</description></item>
/// <item><term><see cref="ArgMax"/>, <see cref="Sample"/></term><description>from logits to tokens</description></item>
/// <item><term><see cref="SampleTop"/>, <see cref="RejectDrafts"/></term><description>the best few draws of a row; drafted tokens or others in their place</description></item>
/// <item><term><see cref="VerifyDrafts"/>, <see cref="AcceptedMoves"/>, <see cref="Gather"/></term><description>drafts that are what the target chose; where their keys and values go; tokens by index</description></item>
/// <item><term><see cref="AdjustLogits"/>, <see cref="LogProbs"/></term><description>penalties and biases; log-probabilities</description></item>
/// <item><term><see cref="Realign"/></term><description>keys and values to other slots of paged caches, in all layers</description></item>
/// <item><term><see cref="RealignPadded(in PaddedBatch, ReadOnlySpan{PaddedLayer}, DeviceSpan{int}, DeviceSpan{int})"/></term><description>padded batches and their caches after a speculative round</description></item>
/// </list>
/// <para>
/// Batch invariance: the bits of a result row depend on that row's inputs and on absolute positions only. They do not depend on how many rows there are,
/// which row it is, how a prompt was cut into steps, where its blocks lie or how many threads computed it.
/// </para>
/// <para>
/// Float matrices may be F32, F16 or BF16, on the CPU each its own, on CUDA one 16-bit type in a call where the operator does not ask for F32
/// (<see cref="Embed"/> and <see cref="ArgMax"/> take F32 too). Sums are kept in F32 and a result is rounded once, when it is stored.
/// A result must not overlap an input unless the operator says so.
/// </para>
/// <para>
/// Numbers in device memory (row numbers, tokens, sampling settings) are checked on the CPU only: a GPU would have to be waited for. There a wrong index
/// reads or writes elsewhere, or is an error of the driver.
/// </para>
/// </remarks>
public abstract partial class Operators
{
    private protected Operators(Device device) => Device = device;

    /// <summary>Where the operators run; every argument must be memory of this device.</summary>
    public Device Device { get; }

    /// <summary>
    /// Whether the bits of a row are independent of the rows beside it, as said above. False only where <see cref="CudaDeviceOptions.DenseMatMul"/> puts another
    /// library in the place of <see cref="MatMul(in DeviceMatrix, in DeviceMatrix, in DeviceMatrix, in DeviceMatrix, in DeviceMatrix)"/>.
    /// </summary>
    public virtual bool IsBatchInvariant => true;

    private void CheckHere(string operation, Device? device, bool isEmpty) =>
        Check.That(isEmpty || device == Device, $"{operation}: an argument is on {device?.Name}, the operators run on {Device.Name}");

    private void CheckFloat(string operation, string name, in DeviceMatrix matrix)
    {
        CheckHere(operation, matrix.Device, matrix.IsEmpty);
        Check.That(matrix.DType.IsFloat(), $"{operation}: {name} is {matrix}, expected F32, F16 or BF16");
    }

    private void CheckFloat(string operation, string name, in DeviceMatrix matrix, int rows, int columns)
    {
        CheckFloat(operation, name, matrix);
        Check.That(matrix.Rows == rows && matrix.Columns == columns, $"{operation}: {name} is {matrix}, expected [{rows}, {columns}]");
    }

    private void CheckLength<T>(string operation, string name, DeviceSpan<T> span, int length) where T : unmanaged
    {
        CheckHere(operation, span.Device, span.IsEmpty);
        Check.That(span.Length == length, $"{operation}: {name} has {span.Length} elements, expected {length}");
    }
}
