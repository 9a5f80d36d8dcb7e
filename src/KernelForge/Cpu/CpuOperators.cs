namespace KernelForge.Cpu;

/// <summary>The operators on the CPU: each output element is computed whole by one thread, in an order that the canon of the operator fixes.</summary>
internal sealed unsafe partial class CpuOperators(Device device, CpuThreads threads, CpuInstructionSet instructionSet) : Operators(device)
{
}
