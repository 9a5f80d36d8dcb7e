using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KernelForge.Cpu;

/// <summary>
/// Products with dense weights. k is walked chunk by chunk: a chunk of a few panels stays in the first-level cache while the rows pass by.
/// </summary>
/// <typeparam name="TLanes">Instruction set.</typeparam>
/// <typeparam name="TWeight">float, Half, FiniteHalf or BFloat16.</typeparam>
[StructLayout(LayoutKind.Auto)]
internal readonly unsafe struct DenseProduct<TLanes, TWeight>(DeviceMatrix x, DensePanels weights, ActivationPrecision activations) : IPanelProduct
    where TLanes : struct, ILanes<TLanes> where TWeight : unmanaged
{
    private const int Chunk = IPanelProduct.Chunk, Line = PanelLayout.LineBytes / sizeof(uint);
    private const int MostPanels = 8;

    /// <summary>So many rows pay for a copy of F16 weights as F32, which four or seven instructions widen.</summary>
    private const int RowsToWiden = 12;

    private readonly FloatTiles<TLanes> _x = new(x, activations);

    public int MaxPanels => MostPanels;

    public long PackedBytes(int rows) => _x.PackedBytes(rows);

    public long ScratchBytes(int rows) =>
        (weights.AreRows ? MostPanels * weights.PanelWords * sizeof(uint) : 0) + (Widens(rows) ? MostPanels * Chunk * PanelLayout.LineBytes : 0);

    public void PackTile(int firstRow, int rows, byte* packed) => _x.Pack(firstRow, rows, (float*)packed);

    public void Multiply(int rows, byte* packed, int firstPanel, int panels, float* sums, int stride, byte* scratch)
    {
        if (weights.K == 0)
            for (int row = 0; row < rows; row++) new Span<float>(sums + row * stride, panels * PanelLayout.Panel).Clear();
        int side = DenseTile<TLanes, TWeight>.Panels(rows);
        for (int panel = 0; panel < panels; panel += side)
            AddPanels(rows, (float*)packed, firstPanel + panel, Math.Min(side, panels - panel), sums + panel * Lanes.Count, stride, (uint*)scratch);
    }

    /// <summary>All chunks of panels that are multiplied side by side.</summary>
    private void AddPanels(int rows, float* packed, int first, int panels, float* sums, int stride, uint* scratch)
    {
        uint* widened = scratch + (weights.AreRows ? MostPanels * weights.PanelWords : 0);
        for (int start = 0; start < weights.K; start += Chunk)
        {
            var run = new DenseRun { PanelWords = weights.PanelWords, Pairs = (Math.Min(Chunk, weights.K - start) + 1) / 2, IsFirst = start == 0 };
            run.Lines = weights.Chunk(first, panels, start, run.Pairs, scratch);
            run.Next = (byte*)weights.Next(run.Lines, first + panels, start);
            run.NextPanelBytes = weights.PanelWords * sizeof(uint);
            if (Widens(rows)) Add<float>(rows, panels, packed, start, Widen(run, panels, widened), sums, stride);
            else Add<TWeight>(rows, panels, packed, start, run, sums, stride);
        }
    }

    private static bool Widens(int rows) => (typeof(TWeight) == typeof(Half) || typeof(TWeight) == typeof(FiniteHalf)) && rows >= RowsToWiden;

    /// <summary>Adds the sums of a chunk for all rows, each tile of which asks for the same share of the next chunk.</summary>
    private void Add<T>(int rows, int panels, float* packed, int start, DenseRun run, float* sums, int stride) where T : unmanaged
    {
        int pairBytes = 2 * sizeof(TWeight) * Lanes.Count;
        if (rows < 2 * RowTiles.Most) run.Next = (byte*)run.Lines + 4 * PanelLayout.LineBytes; // a single tile reads the next chunk itself
        run.NextStep = Math.Max(pairBytes / Math.Max(rows / RowTiles.Most, 1), 1);
        for (int row = 0; row < rows; run.Next += run.NextStep * run.Pairs)
        {
            int tile = RowTiles.Next(rows - row);
            DenseTile<TLanes, T>.Add(tile, panels, packed + (nint)start * tile, run, sums, stride);
            packed += _x.PackedBytes(tile) / sizeof(float);
            sums += (nint)tile * stride;
            row += tile;
        }
    }

    /// <summary>Copies lines of F16 as F32.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static DenseRun Widen(DenseRun run, int panels, uint* widened)
    {
        for (int panel = 0; panel < panels; panel++)
        {
            uint* from = run.Lines + panel * run.PanelWords;
            float* to = (float*)widened + panel * Chunk * Line;
            for (int pair = 0; pair < run.Pairs; pair++, from += Line, to += 2 * Line)
            {
                TLanes.Store(TLanes.LoadLower<TWeight>(from), to);
                TLanes.Store(TLanes.LoadUpper<TWeight>(from), to + Line);
            }
        }
        return run with { Lines = widened, PanelWords = Chunk * Line };
    }
}
