namespace KernelForge.Cpu;

/// <summary>The operators on the CPU: each output element is computed whole by one thread, in an order that the canon of the operator fixes.</summary>
internal sealed unsafe partial class CpuOperators(Device device, CpuThreads threads, CpuInstructionSet instructionSet, CpuLibrary? library) : Operators(device)
{
    /// <summary>Elements below which handing work to another thread costs more than it saves.</summary>
    private const long ElementsPerPart = 32 * 1024;

    /// <summary>That do the work.</summary>
    public CpuThreads Threads => threads;

    /// <summary>Runs work over the rows of a matrix, in as many parts as its size pays for.</summary>
    private void RunRows<TWork>(TWork work, int rows, long elementsPerRow) where TWork : struct, ILaneWork =>
        Run(work, (int)Math.Clamp(rows * elementsPerRow / ElementsPerPart, 1, rows));

    /// <summary>Runs work in at most <paramref name="maxParts"/> parts with this device's instruction set.</summary>
    private void Run<TWork>(TWork work, int maxParts) where TWork : struct, ILaneWork
    {
        switch (instructionSet)
        {
            case CpuInstructionSet.Vector512:
                RunOn<Lanes512, TWork>(work, maxParts);
                break;
            case CpuInstructionSet.Vector256:
                RunOn<Lanes256, TWork>(work, maxParts);
                break;
            default:
                RunOn<LanesScalar, TWork>(work, maxParts);
                break;
        }
    }

    private void RunOn<TLanes, TWork>(TWork work, int maxParts) where TLanes : struct, ILanes<TLanes> where TWork : struct, ILaneWork
    {
        var onLanes = new LaneWork<TLanes, TWork>(work);
        threads.Run(ref onLanes, maxParts);
    }
}
