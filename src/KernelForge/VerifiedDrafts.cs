namespace KernelForge;

/// <summary>How a sequence stands after verification.</summary>
public enum DraftEnd
{
    /// <summary>It goes on.</summary>
    None,

    /// <summary>Its last token is a stop token.</summary>
    Stop,

    /// <summary>It has as many tokens as it may have.</summary>
    Length,
}

/// <summary>
/// What <see cref="Operators.VerifyDrafts"/> finds, as one run of ints, so that one copy brings all of it to the host.
/// </summary>
/// <param name="Memory"><see cref="MemoryLength"/> ints.</param>
/// <param name="Rows">Sequences.</param>
/// <param name="Nodes">Nodes of all sequences.</param>
public readonly record struct VerifiedDrafts(DeviceSpan<int> Memory, int Rows, int Nodes)
{
    /// <summary>[1] sequences that go on.</summary>
    public DeviceSpan<int> ActiveCount => Memory.Slice(0, 1);

    /// <summary>[rows + 1] where the tokens of each sequence begin in <see cref="Tokens"/>; the last one is their number.</summary>
    public DeviceSpan<int> Offsets => Memory.Slice(1, Rows + 1);

    /// <summary>[rows] tokens of each sequence after the step.</summary>
    public DeviceSpan<int> Lengths => Memory.Slice(Rows + 2, Rows);

    /// <summary>[rows] KV blocks that each sequence needs for its next step: room for the key and value of every token it has.</summary>
    public DeviceSpan<int> Blocks => Memory.Slice(2 * Rows + 2, Rows);

    /// <summary>[rows] a <see cref="DraftEnd"/> for each sequence.</summary>
    public DeviceSpan<int> Ends => Memory.Slice(3 * Rows + 2, Rows);

    /// <summary>[rows] numbers of the sequences that go on, ascending; those behind <see cref="ActiveCount"/> are not written.</summary>
    public DeviceSpan<int> Active => Memory.Slice(4 * Rows + 2, Rows);

    /// <summary>[nodes] tokens gained, sequence after sequence without gaps; those behind the last offset are not written.</summary>
    public DeviceSpan<int> Tokens => Memory.Slice(5 * Rows + 2, Nodes);

    /// <summary>[nodes] beside <see cref="Tokens"/>: the node, counted within its sequence, whose next token each is. The first of a sequence is 0.</summary>
    public DeviceSpan<int> Path => Memory.Slice(5 * Rows + 2 + Nodes, Nodes);

    /// <summary>Ints that verification of so many sequences and nodes fills.</summary>
    public static int MemoryLength(int rows, int nodes) => checked(5 * rows + 2 + 2 * nodes);
}
