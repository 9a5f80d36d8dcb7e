using System.Runtime.InteropServices;

namespace KernelForge.Cpu;

/// <summary>Weights of some panels of a tile over one block of 128 k.</summary>
[StructLayout(LayoutKind.Auto)]
internal readonly unsafe struct PackedBlock
{
    /// <summary>The first line of the first panel.</summary>
    public uint* Lines { get; init; }

    /// <summary>Of the panels in the first group.</summary>
    public float* Scales { get; init; }

    /// <summary>Likewise; not read where there are no zero points.</summary>
    public byte* Zeros { get; init; }

    /// <summary>Groups of the block; one group per output counts as groups of 128 with the same scale.</summary>
    public int Groups { get; init; }

    /// <summary>Lines of a panel in a group.</summary>
    public int GroupLines { get; init; }

    /// <summary>From the scales of a group to those of the next.</summary>
    public int GroupStride { get; init; }

    /// <summary>A block of some panels of one tile, the first of them given.</summary>
    public static PackedBlock Of<TCodes>(in PackedLayout layout, byte* codes, int panel, int block) where TCodes : struct, IPackedCodes
    {
        const int tilePanels = PackedLayout.Tile / PanelLayout.Panel;
        (int tile, int inTile) = Math.DivRem(panel, tilePanels);
        bool isPerOutput = layout.Format.GroupSize == 0;
        int groupSize = isPerOutput ? PackedLayout.Tile : layout.Format.GroupSize, groups = PackedLayout.Tile / groupSize;
        long scale = layout.Scale(panel * PanelLayout.Panel, isPerOutput ? 0 : block * groups);
        return new PackedBlock
        {
            Lines = (uint*)(codes + ((long)tile * layout.Blocks + block) * layout.BlockBytes + inTile * (layout.BlockBytes / tilePanels)),
            Scales = (float*)(codes + layout.ScalesOffset) + scale,
            Zeros = codes + layout.ZerosOffset + scale,
            Groups = groups,
            GroupLines = groupSize / (2 * TCodes.Pairs),
            GroupStride = PackedLayout.Tile,
        };
    }
}
