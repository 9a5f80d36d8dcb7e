namespace KernelForge;

/// <summary>What a plan reads of a layer's cache, and what it would read if no sequence shared anything.</summary>
/// <param name="Positions">Positions whose keys and values are read, for one key/value head, each as often as it is read.</param>
/// <param name="PositionsUnshared">The same without sharing.</param>
/// <param name="BytesPerPosition">Bytes of keys and values of a position, all heads.</param>
/// <param name="Groups">Prefixes that are read together.</param>
/// <param name="Levels">Most of them one after the other in a sequence.</param>
/// <param name="Items">Parts into which the work is cut.</param>
public readonly record struct AttentionReads(long Positions, long PositionsUnshared, int BytesPerPosition, int Groups, int Levels, int Items)
{
    /// <summary>Bytes of keys and values that attention of one layer reads.</summary>
    public long Bytes => Positions * BytesPerPosition;

    /// <summary>The same without sharing.</summary>
    public long BytesUnshared => PositionsUnshared * BytesPerPosition;
}
