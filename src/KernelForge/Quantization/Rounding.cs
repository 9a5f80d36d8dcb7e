using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CommunityToolkit.HighPerformance;

namespace KernelForge;

/// <summary>Quantisation of dense weights by rounding to nearest: every group gets the grid that spans it, every weight the nearest code.</summary>
internal static unsafe class Rounding
{
    public static QuantizedMatrix Round<T>(ReadOnlySpan2D<T> weights, in WeightFormat format, DType scaleType) where T : unmanaged
    {
        ref T start = ref weights.DangerousGetReference();
        fixed (T* first = &start)
        {
            long stride = weights.Height <= 1 ? 0 : Unsafe.ByteOffset(ref start, ref weights.DangerousGetReferenceAt(1, 0));
            return Round((byte*)first, stride, DTypes.Of<T>(), weights.Height, weights.Width, format, scaleType);
        }
    }

    /// <summary>Weights in the memory of the CPU.</summary>
    public static QuantizedMatrix Round(in DeviceMatrix weights, in WeightFormat format) => Round(
        (byte*)weights.Address, (long)weights.RowStride * weights.DType.Size(), weights.DType, weights.Rows, weights.Columns, format, DType.F32);

    private static QuantizedMatrix Round(byte* rows, long stride, DType type, int n, int k, WeightFormat format, DType scaleType)
    {
        format.Check("Round", n, k);
        Check.That(type.IsFloat(), $"Round: weights of {type}, expected F32, F16 or BF16");
        Check.That((long)n * k <= Array.MaxLength, $"Round: {n} x {k} weights, expected at most {Array.MaxLength} at once");
        int groups = format.Groups(k);
        var codes = new byte[n * k];
        var scales = new float[n * groups];
        byte[]? zeros = format.HasZeroPoints ? new byte[n * groups] : null;
        ForEachOutput(n, k, (output, wide) =>
        {
            DTypes.Convert(new ReadOnlySpan<byte>(rows + output * stride, k * type.Size()), type, MemoryMarshal.AsBytes(wide.AsSpan()), DType.F32);
            Span<byte> itsZeros = zeros is null ? [] : zeros.AsSpan(output * groups, groups);
            Round(wide, format, scaleType, codes.AsSpan(output * k, k), scales.AsSpan(output * groups, groups), itsZeros);
        });
        return new QuantizedMatrix(format, n, k, codes, scales, zeros);
    }

    /// <summary>Calls with every output and room for its weights, on all cores. The first complaint ends it.</summary>
    private static void ForEachOutput(int n, int k, Action<int, float[]> round)
    {
        try
        {
            Parallel.For(0, n, () => new float[k], (output, _, room) =>
            {
                round(output, room);
                return room;
            }, _ => { });
        }
        catch (AggregateException error) when (error.InnerException is ArgumentException complaint)
        {
            throw new ArgumentException(complaint.Message, error);
        }
    }

    /// <summary>One output's weights.</summary>
    private static void Round(
        ReadOnlySpan<float> weights, in WeightFormat format, DType scaleType, Span<byte> codes, Span<float> scales, Span<byte> zeros)
    {
        int groupSize = format.GroupSize == 0 ? weights.Length : format.GroupSize;
        for (int group = 0; group < scales.Length; group++)
        {
            ReadOnlySpan<float> values = weights.Slice(group * groupSize, groupSize);
            WeightGrid grid = WeightGrid.Of(values, format, scaleType);
            scales[group] = grid.Scale;
            if (!zeros.IsEmpty) zeros[group] = (byte)grid.Zero;
            Span<byte> room = codes.Slice(group * groupSize, groupSize);
            for (int i = 0; i < room.Length; i++) room[i] = (byte)grid.Code(values[i]);
        }
    }
}
