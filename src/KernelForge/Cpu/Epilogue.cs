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
    public void Store(int row, int column, int count, float* sums, float* ups, float* biases, float* upBiases)
    {
        nint destination = result.RowAddress(row) + (nint)column * result.DType.Size();
        AddBias(sums, biases, count);
        if (ups != null) AddBias(ups, upBiases, count);
        if (residual.IsEmpty)
        {
            TypedLoop.Run(new StoreLoop(sums, ups, 0, destination, count), result.DType, result.DType);
            return;
        }
        nint addend = residual.RowAddress(row) + (nint)column * residual.DType.Size();
        TypedLoop.Run(new StoreLoop(sums, ups, addend, destination, count), result.DType, residual.DType);
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

    /// <summary>Gate, residual and store of a run.</summary>
    private readonly struct StoreLoop(float* sums, float* ups, nint addend, nint destination, int count) : ITypedLoop
    {
        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        public void Run<TResult, TAddend, TSame>() where TResult : unmanaged where TAddend : unmanaged where TSame : unmanaged
        {
            TResult* rounded = stackalloc TResult[Lanes.Count];
            var to = (TResult*)destination;
            var from = (TAddend*)addend;
            int whole = Lanes.Whole(count), left = count - whole;
            for (int i = 0; i < whole; i += Lanes.Count)
            {
                TLanes value = Gated(i, rounded);
                if (from != null) value = TLanes.Load(from + i) + Round(value, rounded);
                TLanes.Store(value, to + i);
            }
            if (left == 0) return;
            TLanes last = Gated(whole, rounded);
            if (from != null) last = Elements.LoadTail<TLanes, TAddend>(from + whole, left) + Round(last, rounded);
            Elements.StoreTail(last, to + whole, left);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private TLanes Gated<T>(int index, T* rounded) where T : unmanaged
        {
            TLanes sum = TLanes.Load(sums + index);
            return ups == null ? sum : LaneMath.Silu(Round(sum, rounded)) * Round(TLanes.Load(ups + index), rounded);
        }

        /// <summary>The nearest values of the type, ties to even, by way of memory for sixteen.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static TLanes Round<T>(TLanes value, T* memory) where T : unmanaged
        {
            if (typeof(T) == typeof(float)) return value;
            TLanes.Store(value, memory);
            return TLanes.Load(memory);
        }
    }
}
