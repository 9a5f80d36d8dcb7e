using System.Runtime.InteropServices;

namespace KernelForge.Cuda;

/// <summary>Where lanes of k leave their sums; the same fields in the same order as LaneSums in kf/lane_sums.cuh.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct LaneSumsArgs(nint Partials, nint Counters);
