using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KernelForge.Inference;

/// <summary>
/// Describes the nodes of a step to <see cref="Operators.VerifyDrafts"/> and brings what it finds to the host: the only time that a step waits for the device.
/// </summary>
internal sealed class DraftVerifier(ModelConfig config, int blockSize)
{
    private readonly List<DraftRow> _rows = [];
    private readonly List<int> _parents = [], _stops = [], _upload = [], _found = [];
    private DeviceSpan<DraftRow> _deviceRows;
    private VerifiedDrafts _verified;

    /// <summary>Nodes so far.</summary>
    public int Nodes => _parents.Count;

    /// <summary>Bytes of an arena for so many sequences and nodes.</summary>
    public static long ArenaBytes(int rows, int nodes)
    {
        long stops = (long)(SamplingOptions.MaxStopTokens + 64) * rows; // and the model's own
        return Arena.Rounded((long)rows * Unsafe.SizeOf<DraftRow>()) + Arena.Rounded((stops + nodes) * sizeof(int))
            + Arena.Rounded((long)VerifiedDrafts.MemoryLength(rows, nodes) * sizeof(int));
    }

    /// <summary>Forgets the last step.</summary>
    public void Clear()
    {
        _rows.Clear();
        _parents.Clear();
        _stops.Clear();
    }

    /// <summary>Adds the next sequence that samples, with node 0 and its drafted nodes.</summary>
    public void Add(Sequence sequence, ReadOnlySpan<DraftNode> drafts)
    {
        SamplingOptions options = sequence.Request.Sampling;
        int firstNode = _parents.Count, firstStop = _stops.Count;
        if (!options.IgnoreEndToken) _stops.AddRange(config.EndTokenIds);
        _stops.AddRange(options.StopTokenIds);
        _parents.Add(-1);
        foreach (DraftNode node in drafts) _parents.Add(node.Parent);
        _rows.Add(new DraftRow(
            firstNode, 1 + drafts.Length, sequence.Length, sequence.MaxLength, sequence.PromptLength + options.MinTokens, firstStop, _stops.Count - firstStop));
    }

    /// <summary>Verifies the nodes, on the device.</summary>
    /// <param name="tokens">[nodes] drafted tokens.</param>
    /// <param name="chosen">[nodes] tokens that the target model chose.</param>
    /// <param name="arena">For small arrays.</param>
    public void Verify(DeviceSpan<int> tokens, DeviceSpan<int> chosen, Arena arena)
    {
        _upload.Clear();
        _upload.AddRange(_parents);
        _upload.AddRange(_stops);
        int first = _upload.Count, length = VerifiedDrafts.MemoryLength(_rows.Count, Nodes);
        CollectionsMarshal.SetCount(_upload, first + length);
        CollectionsMarshal.AsSpan(_upload)[first..].Clear(); // all of it comes back, also what is not written
        DeviceSpan<int> device = arena.Upload<int>(CollectionsMarshal.AsSpan(_upload));
        _deviceRows = arena.Upload<DraftRow>(CollectionsMarshal.AsSpan(_rows));
        _verified = new VerifiedDrafts(device.Slice(first, length), _rows.Count, Nodes);
        chosen.Device!.Operators.VerifyDrafts(_deviceRows, device.Slice(0, Nodes), tokens, chosen, device.Slice(Nodes, _stops.Count), blockSize, _verified);
    }

    /// <summary>The moves that make chains of accepted paths, for what was verified last: <see cref="Operators.AcceptedMoves"/>.</summary>
    public void FindMoves(DeviceSpan<int> slots, DeviceSpan<int> targets, DeviceSpan<KvMove> moves) =>
        slots.Device!.Operators.AcceptedMoves(_deviceRows, _verified, slots, targets, moves);

    /// <summary>Waits for what came of verification and brings it to the host.</summary>
    public void Fetch()
    {
        CollectionsMarshal.SetCount(_found, _verified.Memory.Length);
        _verified.Memory.CopyTo(CollectionsMarshal.AsSpan(_found));
    }

    /// <summary>Tokens that the i-th sequence gained.</summary>
    public ReadOnlySpan<int> Tokens(int i) => Found(5 * _rows.Count + 2, i);

    /// <summary>The nodes, counted within the i-th sequence, after which each of <see cref="Tokens"/> was chosen.</summary>
    public ReadOnlySpan<int> Path(int i) => Found(5 * _rows.Count + 2 + Nodes, i);

    /// <summary>Where the nodes of the i-th sequence begin among those of all sequences.</summary>
    public int FirstNode(int i) => _rows[i].FirstNode;

    private ReadOnlySpan<int> Found(int run, int i)
    {
        ReadOnlySpan<int> found = CollectionsMarshal.AsSpan(_found);
        return found[(run + found[1 + i])..(run + found[2 + i])];
    }
}
