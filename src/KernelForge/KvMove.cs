using System.Runtime.InteropServices;

namespace KernelForge;

/// <summary>Keys and values of one token position that go from one slot of a paged cache to another.</summary>
/// <param name="Source">Slot: block id · block size + offset.</param>
/// <param name="Destination">Slot; equal to the source: nothing is moved.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly record struct KvMove(int Source, int Destination);
