using System.Runtime.InteropServices;

namespace KernelForge.Cpu;

/// <summary>Weights of some sixteens of outputs of a tile over some blocks of k.</summary>
[StructLayout(LayoutKind.Auto)]
internal readonly unsafe struct PackedRun
{
    /// <summary>Pairs of outputs, eight to a sixteen.</summary>
    public int Pairs { get; init; }

    /// <summary>The first line. That of the next pair is the next line, that of the next sixteen follows this sixteen's block.</summary>
    public byte* Codes { get; init; }

    /// <summary>Bytes from a block of the same tile to the next.</summary>
    public int BlockBytes { get; init; }

    /// <summary>Groups of the run. One group per output counts as groups of 128 with the same scale.</summary>
    public int Pieces { get; init; }

    /// <summary>Lines of a group.</summary>
    public int PieceLines { get; init; }

    /// <summary>Of the first output in the first group; an output's neighbour has its scale next to it.</summary>
    public float* Scales { get; init; }

    /// <summary>Likewise; not read where there are no zero points.</summary>
    public byte* Zeros { get; init; }

    /// <summary>From the scale of a piece to that of the next.</summary>
    public int PieceStride { get; init; }

    /// <summary>From the scale of lanes 0, 1 of each four to that of lanes 2, 3; not 0 where a line holds two groups.</summary>
    public int HalfStride { get; init; }
}
