using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;

namespace KernelForge.Cuda;

/// <summary>
/// The last launches of a device with their arguments. A fault of a kernel comes to light at a later call; then they say what it may have been. Writing to
/// the log allocates nothing.
/// </summary>
internal sealed unsafe class LaunchLog
{
    private const int Capacity = 8, ArgumentBytes = 256;

    private readonly Entry[] _entries = new Entry[Capacity];
    private long _count;

    public void Add<TArgs>(CudaKernel kernel, Dim3 grid, Dim3 block, int dynamicSharedBytes, in TArgs args) where TArgs : unmanaged
    {
        lock (_entries)
        {
            ref Entry entry = ref _entries[_count++ % Capacity];
            entry.Name = kernel.Name;
            (entry.Grid, entry.Block, entry.DynamicSharedBytes) = (grid, block, dynamicSharedBytes);
            entry.Describe = sizeof(TArgs) <= ArgumentBytes ? &Text<TArgs> : &NameOnly<TArgs>;
            if (sizeof(TArgs) <= ArgumentBytes) MemoryMarshal.Write(entry.Arguments, args);
        }
    }

    public void AddGraph()
    {
        lock (_entries) _entries[_count++ % Capacity] = new Entry { Name = "a graph: the launches recorded in it" };
    }

    /// <summary>One launch as it appears in messages.</summary>
    public static string Describe<TArgs>(string kernel, Dim3 grid, Dim3 block, int dynamicSharedBytes, in TArgs args) where TArgs : unmanaged =>
        Describe(kernel, grid, block, dynamicSharedBytes, args.ToString() ?? "");

    /// <summary>The launches, the latest first, one per line; empty when there were none.</summary>
    public override string ToString()
    {
        StringBuilder text = new();
        lock (_entries)
        {
            for (long i = _count - 1; i >= Math.Max(0, _count - Capacity); i--)
            {
                ref Entry entry = ref _entries[i % Capacity];
                string line = entry.Describe is null
                    ? entry.Name!
                    : Describe(entry.Name!, entry.Grid, entry.Block, entry.DynamicSharedBytes, entry.Describe(entry.Arguments));
                text.Append("\n  ").Append(line);
            }
        }
        return text.ToString();
    }

    private static string Describe(string kernel, Dim3 grid, Dim3 block, int dynamicSharedBytes, string arguments) =>
        $"{kernel}, grid {grid}, block {block}, {dynamicSharedBytes} bytes of dynamic shared memory, {arguments}";

    private static string Text<TArgs>(ReadOnlySpan<byte> bytes) where TArgs : unmanaged => MemoryMarshal.Read<TArgs>(bytes).ToString() ?? "";

    private static string NameOnly<TArgs>(ReadOnlySpan<byte> bytes) where TArgs : unmanaged => $"{typeof(TArgs).Name} of {sizeof(TArgs)} bytes";

    private struct Entry
    {
        public string? Name;
        public Dim3 Grid, Block;
        public int DynamicSharedBytes;
        public delegate*<ReadOnlySpan<byte>, string> Describe;
        public Bytes Arguments;
    }

    [InlineArray(ArgumentBytes)]
    private struct Bytes
    {
        private byte _first;
    }
}
