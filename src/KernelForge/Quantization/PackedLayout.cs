namespace KernelForge;

/// <summary>In which order the codes of 128 outputs by 128 k lie. All else of packed weights lies the same everywhere.</summary>
internal enum CodeOrder
{
    /// <summary>As CUDA kernels read them, and as files hold them.</summary>
    Mma,

    /// <summary>As the CPU reads them: <see cref="PanelLayout"/>.</summary>
    Panels,
}

/// <summary>
/// Where codes, scales and zero points lie in packed weights (native/include/kf/packed_weights.cuh). Outputs are padded to multiples of 128, k too. Codes have
/// one order for all CUDA kernels and for files, another one on the CPU.
/// </summary>
/// <remarks>
/// <code>
/// codes    [tile of 128 outputs][block of 128 k] in the order of PanelLayout, or
///          [tile of 128 outputs][block of 128 k][slice 4][side 2: 16 outputs][vector 2 or 4][lane 32] of 16 bytes
///          4 bits: word j of vector v is k step 4 v + j; bits 4 i + 16 h hold register i, half h
///          8 bits: words j of vector v are k step 2 v + j / 2; byte b holds register 2 (j % 2) + b / 2, half b % 2
///          register i, half h of a lane: output lane / 4 + 8 (i % 2) of the 16, k = 2 (lane % 4) + h + 8 (i / 2) of the step's 16
/// scales   [tile][group][128] float
/// zeros    [tile][group][128] byte, where there are zero points
/// order    [k] int, where there is an order
/// </code>
/// The second is operand A of mma.m16n8k16 and of wgmma, so a lane reads 16 bytes and has what it multiplies. In gated weights (gate and up projection of an MLP)
/// of each 16 packed outputs the first 8 are gates, the last 8 the up projection of the same channels.
/// </remarks>
internal readonly record struct PackedLayout
{
    /// <summary>Outputs of a tile, and k of a block.</summary>
    public const int Tile = 128;

    private const int SectionAlignment = 256;

    public PackedLayout(WeightFormat format, int n, int k, bool hasOrder, CodeOrder order)
    {
        (Format, N, K, CodeOrder) = (format, n, k, order);
        Tiles = (n + Tile - 1) / Tile;
        Blocks = (k + Tile - 1) / Tile;
        Groups = format.GroupSize == 0 ? 1 : Blocks * (Tile / format.GroupSize);
        BlockBytes = Tile * Tile * format.Bits / 8;
        ScalesOffset = (long)Tiles * Blocks * BlockBytes;
        ZerosOffset = Aligned(ScalesOffset + (long)Tiles * Groups * Tile * sizeof(float));
        OrderOffset = Aligned(ZerosOffset + (format.HasZeroPoints ? (long)Tiles * Groups * Tile : 0));
        Bytes = Aligned(OrderOffset + (hasOrder ? (long)k * sizeof(int) : 0));
    }

    public WeightFormat Format { get; }

    public int N { get; }

    public int K { get; }

    /// <summary>Of the codes of a block.</summary>
    public CodeOrder CodeOrder { get; }

    /// <summary>Tiles of 128 outputs.</summary>
    public int Tiles { get; }

    /// <summary>Blocks of 128 k.</summary>
    public int Blocks { get; }

    /// <summary>Groups of an output, those of padding included.</summary>
    public int Groups { get; }

    /// <summary>Bytes of the codes of 128 outputs by 128 k.</summary>
    public int BlockBytes { get; }

    public long ScalesOffset { get; }

    public long ZerosOffset { get; }

    public long OrderOffset { get; }

    /// <summary>All sections.</summary>
    public long Bytes { get; }

    /// <summary>Bytes of codes, scales and zero points: what a product reads.</summary>
    public long ReadBytes => OrderOffset;

    /// <summary>Byte of a code from the start, and its lowest bit in that byte.</summary>
    public (long Byte, int Bit) Code(int output, int k) => CodeOrder == CodeOrder.Mma ? MmaCode(output, k) : PanelCode(output, k);

    /// <summary>Index among scales, or zero points.</summary>
    public long Scale(int output, int group) => ((long)(output / Tile) * Groups + group) * Tile + output % Tile;

    /// <summary>Which output of gated weights a packed output is: gates are 0 .. n / 2 - 1, the up projection follows.</summary>
    public static int GatedSource(int output, int n) => output / 16 * 8 + output % 8 + (output % 16 < 8 ? 0 : n / 2);

    private (long Byte, int Bit) PanelCode(int output, int k)
    {
        int perWord = 32 / Format.Bits, words = Tile / perWord;
        long panel = ((long)(output / Tile) * Blocks + k / Tile) * (Tile / PanelLayout.Panel) + output % Tile / PanelLayout.Panel;
        long word = (panel * words + k % Tile / perWord) * PanelLayout.Panel + output % PanelLayout.Panel;
        return (word * sizeof(uint) + k % sizeof(uint), k % perWord / sizeof(uint) * Format.Bits);
    }

    private (long Byte, int Bit) MmaCode(int output, int k)
    {
        int step = k % Tile / 16, inStep = k % 16, high = inStep / 8;
        int lane = output % 8 * 4 + inStep % 8 / 2, register = output % 16 / 8 + 2 * high, half = k % 2;
        long sixteen = ((long)(output / Tile) * Blocks + k / Tile) * 8 + output % Tile / 16; // of the 16 outputs by 128 k
        if (Format.Bits == 4)
        {
            long word = ((sixteen * 2 + step / 4) * 32 + lane) * 4 + step % 4;
            int bit = 4 * register + 16 * half;
            return (word * 4 + bit / 8, bit % 8);
        }
        long wide = ((sixteen * 4 + step / 2) * 32 + lane) * 4 + step % 2 * 2 + high;
        return (wide * 4 + 2 * (register % 2) + half, 0);
    }

    private static long Aligned(long bytes) => (bytes + SectionAlignment - 1) / SectionAlignment * SectionAlignment;
}
