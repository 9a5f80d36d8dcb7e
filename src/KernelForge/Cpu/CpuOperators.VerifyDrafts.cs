namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    protected override void VerifyDraftsCore(
        DeviceSpan<DraftRow> rows, DeviceSpan<int> parents, DeviceSpan<int> tokens, DeviceSpan<int> chosen, DeviceSpan<int> stops, int blockSize,
        in VerifiedDrafts result)
    {
        Span<int> offsets = result.Offsets.OnCpu, lengths = result.Lengths.OnCpu, blocks = result.Blocks.OnCpu, ends = result.Ends.OnCpu;
        Span<int> active = result.Active.OnCpu, gained = result.Tokens.OnCpu, path = result.Path.OnCpu;
        int count = 0, activeCount = 0, nextNode = 0;
        for (int i = 0; i < rows.Length; i++)
        {
            DraftRow row = rows.OnCpu[i];
            CheckDraftRow(row, i, nextNode, result.Nodes, stops.Length);
            nextNode += row.Nodes;
            offsets[i] = count;
            var nodes = new DraftNodes(parents.OnCpu.Slice(row.FirstNode, row.Nodes), tokens.OnCpu.Slice(row.FirstNode, row.Nodes));
            ReadOnlySpan<int> choices = chosen.OnCpu.Slice(row.FirstNode, row.Nodes), rowStops = stops.OnCpu.Slice(row.FirstStop, row.Stops);
            int length = row.Length;
            var end = DraftEnd.None;
            for (int node = 0; node >= 0 && end == DraftEnd.None; node = nodes.ChildWith(node, choices[node]))
            {
                int token = choices[node];
                (gained[count], path[count++]) = (token, node);
                if (length++ >= row.MinLength && rowStops.Contains(token)) end = DraftEnd.Stop;
                else if (length >= row.MaxLength) end = DraftEnd.Length;
            }
            (lengths[i], blocks[i], ends[i]) = (length, (length + blockSize - 1) / blockSize, (int)end);
            if (end == DraftEnd.None) active[activeCount++] = i;
        }
        Check.That(nextNode == result.Nodes, $"VerifyDrafts: the rows have {nextNode} nodes, there are {result.Nodes}");
        offsets[rows.Length] = count;
        result.ActiveCount.OnCpu[0] = activeCount;
    }

    protected override void AcceptedMovesCore(
        DeviceSpan<DraftRow> rows, in VerifiedDrafts verified, DeviceSpan<int> slots, DeviceSpan<int> targets, DeviceSpan<KvMove> moves)
    {
        moves.OnCpu.Clear();
        ReadOnlySpan<int> offsets = verified.Offsets.OnCpu, path = verified.Path.OnCpu;
        for (int i = 0; i < rows.Length; i++)
        {
            int first = rows.OnCpu[i].FirstNode, start = offsets[i];
            for (int t = 0; t < offsets[i + 1] - start; t++) moves.OnCpu[first + t] = new KvMove(slots.OnCpu[first + path[start + t]], targets.OnCpu[first + t]);
        }
    }

    private static void CheckDraftRow(in DraftRow row, int index, int firstNode, int nodes, int stops)
    {
        Check.That(row.FirstNode == firstNode, $"VerifyDrafts: row {index} is {row}, expected node {firstNode} to be its first");
        Check.That(row.Nodes > 0 && row.Nodes <= nodes - row.FirstNode, $"VerifyDrafts: row {index} is {row}, there are {nodes} nodes");
        Check.That(row.Stops >= 0 && row.FirstStop >= 0 && row.FirstStop <= stops - row.Stops, $"VerifyDrafts: row {index} is {row}, there are {stops} stop tokens");
        Check.That(row.Length < row.MaxLength, $"VerifyDrafts: row {index} is {row}, which has ended");
    }

    /// <summary>The nodes of one sequence.</summary>
    private readonly ref struct DraftNodes(ReadOnlySpan<int> parents, ReadOnlySpan<int> tokens)
    {
        private readonly ReadOnlySpan<int> _parents = parents, _tokens = tokens;

        /// <summary>The first child of a node with that token; -1 when there is none.</summary>
        public int ChildWith(int node, int token)
        {
            for (int child = node + 1; child < _parents.Length; child++)
                if (_parents[child] == node && _tokens[child] == token) return child;
            return -1;
        }
    }
}
