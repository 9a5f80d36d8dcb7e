namespace KernelForge.Cpu;

/// <summary>Work of an operator, written once for every instruction set.</summary>
internal interface ILaneWork
{
    /// <summary>Does part number <paramref name="part"/> of <paramref name="parts"/>.</summary>
    void Run<TLanes>(int part, int parts) where TLanes : struct, ILanes<TLanes>;
}

/// <summary>Such work with the instruction set chosen.</summary>
internal readonly struct LaneWork<TLanes, TWork>(TWork work) : IParallelWork where TLanes : struct, ILanes<TLanes> where TWork : struct, ILaneWork
{
    public void Run(int part, int parts) => work.Run<TLanes>(part, parts);
}

/// <summary>The rows start .. end - 1 that one part of a row-wise operator computes.</summary>
internal readonly record struct RowRange(int Start, int End)
{
    public static RowRange Of(int rows, int part, int parts) => new((int)((long)rows * part / parts), (int)((long)rows * (part + 1) / parts));
}
