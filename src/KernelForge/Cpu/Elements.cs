using System.Runtime.CompilerServices;

namespace KernelForge.Cpu;

/// <summary>Reads and writes sixteen elements, or the last few of a row, of a matrix whose float type is known at run time.</summary>
internal static unsafe class Elements
{
    /// <summary>Elements index .. index + 15 of a row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Load<TLanes>(nint row, DType type, int index) where TLanes : struct, ILanes<TLanes> =>
        type == DType.F32 ? TLanes.Load((float*)row + index) :
        type == DType.F16 ? TLanes.Load((Half*)row + index) :
        TLanes.Load((BFloat16*)row + index);

    /// <summary>Elements index .. index + 15 of a row that ends at <paramref name="length"/>; zero behind its end, which is not read.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Load<TLanes>(nint row, DType type, int index, int length) where TLanes : struct, ILanes<TLanes> =>
        length - index >= Lanes.Count ? Load<TLanes>(row, type, index) : LoadTail<TLanes>(row, type, index, length - index);

    /// <summary>One element of a row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float One(nint row, DType type, int index) =>
        type == DType.F32 ? ((float*)row)[index] : type == DType.F16 ? Widen.One(((Half*)row)[index]) : Widen.One(((BFloat16*)row)[index]);

    /// <summary>Writes elements index .. index + 15 of a row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<TLanes>(TLanes value, nint row, DType type, int index) where TLanes : struct, ILanes<TLanes>
    {
        if (type == DType.F32) TLanes.Store(value, (float*)row + index);
        else if (type == DType.F16) TLanes.Store(value, (Half*)row + index);
        else TLanes.Store(value, (BFloat16*)row + index);
    }

    /// <summary>Writes elements index .. index + 15 of a row that ends at <paramref name="length"/>; nothing behind its end.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<TLanes>(TLanes value, nint row, DType type, int index, int length) where TLanes : struct, ILanes<TLanes>
    {
        if (length - index >= Lanes.Count) Store(value, row, type, index);
        else StoreTail(value, row, type, index, length - index);
    }

    /// <summary>Copies a run of elements from one float type to another; rounds to nearest even where the new type is narrower.</summary>
    public static void Convert<TLanes>(nint source, DType from, nint destination, DType to, int length) where TLanes : struct, ILanes<TLanes>
    {
        if (from == to)
        {
            long bytes = (long)length * from.Size();
            Buffer.MemoryCopy((void*)source, (void*)destination, bytes, bytes);
            return;
        }

        TypedLoop.Run(new ConvertLoop<TLanes>(source, destination, length), from, to);
    }

    /// <summary>Copies elements to F32; zero behind the end, up to a multiple of sixteen.</summary>
    public static void ToF32<TLanes>(nint source, DType from, float* destination, int length) where TLanes : struct, ILanes<TLanes>
    {
        if (from == DType.F32) ToF32<TLanes, float>((float*)source, destination, length);
        else if (from == DType.F16) ToF32<TLanes, Half>((Half*)source, destination, length);
        else ToF32<TLanes, BFloat16>((BFloat16*)source, destination, length);
    }

    /// <summary>Copies elements to F32; zero behind the end, up to a multiple of sixteen. <typeparamref name="T"/> is float, Half or BFloat16.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void ToF32<TLanes, T>(T* source, float* destination, int length) where TLanes : struct, ILanes<TLanes> where T : unmanaged
    {
        int i = 0;
        for (; i <= length - Lanes.Count; i += Lanes.Count) TLanes.Store(TLanes.Load(source + i), destination + i);
        for (; i < length; i++) destination[i] = Widen.One(source[i]);
        new Span<float>(destination + length, Lanes.Padded(length) - length).Clear();
    }

    /// <summary>The first <paramref name="count"/> of sixteen elements, fewer than all; zero behind them, which are not read.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static TLanes LoadTail<TLanes, T>(T* source, int count) where TLanes : struct, ILanes<TLanes> where T : unmanaged
    {
        T* padded = stackalloc T[Lanes.Count];
        new Span<T>(padded, Lanes.Count).Clear();
        new ReadOnlySpan<T>(source, count).CopyTo(new Span<T>(padded, Lanes.Count));
        return TLanes.Load(padded);
    }

    /// <summary>Writes the first <paramref name="count"/> of sixteen elements, fewer than all; nothing behind them.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static void StoreTail<TLanes, T>(TLanes value, T* destination, int count) where TLanes : struct, ILanes<TLanes> where T : unmanaged
    {
        T* padded = stackalloc T[Lanes.Count];
        TLanes.Store(value, padded);
        new ReadOnlySpan<T>(padded, count).CopyTo(new Span<T>(destination, count));
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static TLanes LoadTail<TLanes>(nint row, DType type, int index, int count) where TLanes : struct, ILanes<TLanes>
    {
        byte* padded = stackalloc byte[Lanes.Count * sizeof(float)];
        new Span<byte>(padded, Lanes.Count * sizeof(float)).Clear();
        Buffer.MemoryCopy((byte*)row + (nint)index * type.Size(), padded, Lanes.Count * sizeof(float), count * type.Size());
        return Load<TLanes>((nint)padded, type, 0);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void StoreTail<TLanes>(TLanes value, nint row, DType type, int index, int count) where TLanes : struct, ILanes<TLanes>
    {
        byte* padded = stackalloc byte[Lanes.Count * sizeof(float)];
        Store(value, (nint)padded, type, 0);
        Buffer.MemoryCopy(padded, (byte*)row + (nint)index * type.Size(), Lanes.Count * sizeof(float), count * type.Size());
    }

    private readonly struct ConvertLoop<TLanes>(nint source, nint destination, int length) : ITypedLoop where TLanes : struct, ILanes<TLanes>
    {
        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        public void Run<TFrom, TTo, TNone>() where TFrom : unmanaged where TTo : unmanaged where TNone : unmanaged
        {
            var from = (TFrom*)source;
            var to = (TTo*)destination;
            int whole = Lanes.Whole(length);
            for (int i = 0; i < whole; i += Lanes.Count) TLanes.Store(TLanes.Load(from + i), to + i);
            if (whole < length) Elements.StoreTail(Elements.LoadTail<TLanes, TFrom>(from + whole, length - whole), to + whole, length - whole);
        }
    }
}
