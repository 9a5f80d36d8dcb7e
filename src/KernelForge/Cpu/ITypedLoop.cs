namespace KernelForge.Cpu;

/// <summary>
/// A loop over the elements of a row, compiled for the element types of its operands: float, Half or BFloat16. Where types are looked up for each vector, the compiler keeps
/// sums in memory around the calls that it sees: three to nine times as slow, in some processes and not in others.
/// </summary>
internal interface ITypedLoop
{
    /// <summary>Runs over the row. A loop with fewer operands does not look at the other types.</summary>
    void Run<T0, T1, T2>() where T0 : unmanaged where T1 : unmanaged where T2 : unmanaged;
}

/// <summary>Runs loops with the element types of their operands, which are known at run time.</summary>
internal static class TypedLoop
{
    /// <summary>For two operands.</summary>
    public static void Run<TLoop>(in TLoop loop, DType first, DType second) where TLoop : struct, ITypedLoop
    {
        if (first == DType.F32) Pair<TLoop, float>(loop, second);
        else if (first == DType.F16) Pair<TLoop, Half>(loop, second);
        else Pair<TLoop, BFloat16>(loop, second);
    }

    /// <summary>For three operands.</summary>
    public static void Run<TLoop>(in TLoop loop, DType first, DType second, DType third) where TLoop : struct, ITypedLoop
    {
        if (first == DType.F32) Triple<TLoop, float>(loop, second, third);
        else if (first == DType.F16) Triple<TLoop, Half>(loop, second, third);
        else Triple<TLoop, BFloat16>(loop, second, third);
    }

    private static void Pair<TLoop, T0>(in TLoop loop, DType second) where TLoop : struct, ITypedLoop where T0 : unmanaged
    {
        if (second == DType.F32) loop.Run<T0, float, float>();
        else if (second == DType.F16) loop.Run<T0, Half, Half>();
        else loop.Run<T0, BFloat16, BFloat16>();
    }

    private static void Triple<TLoop, T0>(in TLoop loop, DType second, DType third) where TLoop : struct, ITypedLoop where T0 : unmanaged
    {
        if (second == DType.F32) Triple<TLoop, T0, float>(loop, third);
        else if (second == DType.F16) Triple<TLoop, T0, Half>(loop, third);
        else Triple<TLoop, T0, BFloat16>(loop, third);
    }

    private static void Triple<TLoop, T0, T1>(in TLoop loop, DType third) where TLoop : struct, ITypedLoop where T0 : unmanaged where T1 : unmanaged
    {
        if (third == DType.F32) loop.Run<T0, T1, float>();
        else if (third == DType.F16) loop.Run<T0, T1, Half>();
        else loop.Run<T0, T1, BFloat16>();
    }
}
