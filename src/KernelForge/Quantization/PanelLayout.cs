namespace KernelForge;

/// <summary>
/// Where weights lie for products on the CPU: a line is 64 bytes, one 32-bit word for each of sixteen outputs, and a word holds the next weights along k: one F32, two
/// of 16 bits, four codes of 8 bits or eight of 4 bits.
/// </summary>
/// <remarks>
/// <code>
/// dense    [panel of 16 outputs][k word][16] words; outputs are padded with zeros, and k to an even number
/// 8 bits   [tile of 128 outputs][block of 128 k][panel 8][k word 32][16] words; byte b of a word is k = 4 · word + b
/// 4 bits   [tile of 128 outputs][block of 128 k][panel 8][k word 16][16] words; byte b of a word holds k = 8 · word + b in its low half, + 4 in its high half
/// </code>
/// So one load brings one weight, or a few, of sixteen outputs, and an element of x, spread over the lanes, is multiplied with all of them. Sections of packed
/// weights are those of <see cref="PackedLayout"/>. Gates and up projections take turns by eights, as there.
/// </remarks>
internal static class PanelLayout
{
    /// <summary>Outputs of a panel.</summary>
    public const int Panel = 16;

    /// <summary>Bytes of a line.</summary>
    public const int LineBytes = 64;

    /// <summary>Panels for so many outputs.</summary>
    public static int Panels(int n) => (n + Panel - 1) / Panel;

    /// <summary>Weights of a type that a word holds.</summary>
    public static int PerWord(DType type) => sizeof(int) / type.Size();

    /// <summary>Words of an output with so many weights: those of an even number.</summary>
    public static int Words(DType type, int k) => (k + 1) / 2 * 2 / PerWord(type);

    /// <summary>Bytes of dense weights.</summary>
    public static long Bytes(DType type, int n, int k) => (long)Panels(n) * Words(type, k) * LineBytes;
}
