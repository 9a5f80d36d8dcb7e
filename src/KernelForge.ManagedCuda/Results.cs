using ManagedCuda.BasicTypes;

namespace KernelForge.ManagedCuda;

/// <summary>Both enums have the numbers of cuda.h.</summary>
internal static class Results
{
    public static CUresult Result(this CUResult result) => (CUresult)result;
}
