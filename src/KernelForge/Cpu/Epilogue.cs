using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace KernelForge.Cpu;

/// <summary>
/// What follows the sums of a matrix product: bias, silu(gate) · up where the product has both, residual. Each step rounds to the result's type, as
/// separate operators do one after the other.
/// </summary>
internal readonly unsafe struct Epilogue<TLanes>(DeviceMatrix result, DeviceMatrix bias, DeviceMatrix residual) where TLanes : struct, ILanes<TLanes>
{
    /// <summary>Whether the product has a bias.</summary>
    public bool HasBias => !bias.IsEmpty;

    /// <summary>Widens a run of the bias; zero behind its end, up to a multiple of sixteen.</summary>
    public void LoadBias(int column, int count, float* destination) =>
        Elements.ToF32<TLanes>(bias.Address + (nint)column * bias.DType.Size(), bias.DType, destination, count);

    /// <summary>Stores a run of a row of the result.</summary>
    /// <param name="row">Of the result.</param>
    /// <param name="column">The first of the run.</param>
    /// <param name="count">Columns.</param>
    /// <param name="sums">Sums, of gates where there are two factors; a multiple of sixteen of them, overwritten.</param>
    /// <param name="ups">Sums of the up projection; null where there is one factor.</param>
    /// <param name="biases">For the sums; read if there is a bias.</param>
    /// <param name="upBiases">For the ups.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public void Store(int row, int column, int count, float* sums, float* ups, float* biases, float* upBiases)
    {
        DType type = result.DType;
        nint offset = (nint)column * type.Size(), destination = result.RowAddress(row) + offset;
        AddBias(sums, biases, count);
        if (ups != null)
        {
            AddBias(ups, upBiases, count);
            for (int i = 0; i < count; i += Lanes.Count)
            {
                TLanes gate = Elements.Round(TLanes.Load(sums + i), type), up = Elements.Round(TLanes.Load(ups + i), type);
                TLanes.Store(LaneMath.Silu(gate) * up, sums + i);
            }
        }
        if (residual.IsEmpty)
        {
            Elements.Convert<TLanes>((nint)sums, DType.F32, destination, type, count);
            return;
        }
        nint addend = residual.RowAddress(row) + offset;
        for (int i = 0; i < count; i += Lanes.Count)
            Elements.Store(Elements.Load<TLanes>(addend, type, i, count) + Elements.Round(TLanes.Load(sums + i), type), destination, type, i, count);
    }

    /// <summary>Adds the bias. Which of two NaNs an addition returns depends on the order of its operands, so all become the same one.</summary>
    private void AddBias(float* sums, float* biases, int count)
    {
        for (int i = 0; i < count; i += Vector256<float>.Count)
        {
            Vector256<float> value = Vector256.Load(sums + i);
            if (HasBias) value += Vector256.Load(biases + i);
            Vector256.ConditionalSelect(Vector256.Equals(value, value), value, Vector256.Create(float.NaN)).Store(sums + i);
        }
    }
}
