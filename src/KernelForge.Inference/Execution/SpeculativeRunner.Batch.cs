using System.Runtime.InteropServices;

namespace KernelForge.Inference;

/// <content>A step as a batch: the tokens of a plan and drafted ones, every path of a token tree as a sequence.</content>
public sealed partial class SpeculativeRunner
{
    /// <summary>The plan's tokens and the drafted ones behind them.</summary>
    private StepBatch Batch(StepPlan plan)
    {
        FetchProposals(plan);
        _verifier.Clear();
        _paths.Clear();
        _rejection?.Clear();
        _pruner?.Clear();
        for (int i = 0; i < plan.Rows.Length; i++)
            if (plan.Rows[i].Samples) AddTree(i, plan.Rows[i]);
        CollectionsMarshal.SetCount(_nodeTokens, _verifier.Nodes);
        _arena.Reset();
        StepBatch batch = Flatten(plan);
        _tokens = _builder.Tokens;
        KvReads = KvReads.Plus(_groups.Reads, _model.Config.Layers);
        return _moves.Fork(_paths, batch, _arena);
    }

    /// <summary>A row that samples: node 0 of its tree is the row's last token.</summary>
    private void AddTree(int index, in PlanRow row)
    {
        int wanted = _drafts.Nodes(index).Length;
        if (wanted > row.DraftTokens)
            throw new InvalidOperationException($"{_drafter.GetType().Name} drafted {wanted} tokens for a row that takes at most {row.DraftTokens}.");
        int kept = _paths.Add(index, row.Sequence.Table.Blocks, row.Start, row.Length, _drafts.Nodes(index));
        if (kept < wanted) _drafts.Truncate(index, kept);
        _verifier.Add(row.Sequence, _drafts.Nodes(index));
        _rejection?.Add(_drafts.Nodes(index));
        _pruner?.Add(row.Sequence, _drafts.Nodes(index));
    }

    /// <summary>The rows of a plan as a batch, with the nodes that were not dropped.</summary>
    private StepBatch Flatten(StepPlan plan)
    {
        _builder.Clear();
        _sampler.Clear();
        _taken.Clear();
        int path = 0, sampling = 0;
        for (int i = 0; i < plan.Rows.Length; i++)
        {
            PlanRow row = plan.Rows[i];
            if (!row.Samples)
            {
                _builder.AddRow(row);
                continue;
            }
            int firstNode = _paths.RowStarts[sampling++];
            for (; path < _paths.Paths.Length && _paths.Paths[path].Row == i; path++) TakePath(path, row, firstNode);
            WantNodes(row.Sequence, _drafts.Nodes(i), firstNode);
        }
        return _builder.Build(_arena, _drafts.Proposals);
    }

    /// <summary>Every path of a tree is a sequence; nodes are dropped from its end, or all.</summary>
    private void TakePath(int number, in PlanRow row, int firstNode)
    {
        DraftPath path = _paths.Paths[number];
        ReadOnlySpan<int> nodes = _paths.NodesOf(path);
        if (HasDropped(firstNode + nodes[0])) return;
        _taken.Add(number);
        _builder.BeginSequence(_paths.BlocksOf(path), path.Start);
        foreach (int node in nodes)
        {
            if (HasDropped(firstNode + node)) return;
            DraftNode draft = node == 0 ? default : _drafts.Nodes(path.Row)[node - 1];
            _nodeTokens[firstNode + node] = node == 0 ? _builder.Add(row.Tokens) : _builder.Add(draft.Token, draft.Source);
        }
    }

    private void WantNodes(Sequence sequence, ReadOnlySpan<DraftNode> drafts, int firstNode)
    {
        for (int node = 0; node <= drafts.Length; node++)
        {
            if (HasDropped(firstNode + node)) continue;
            _builder.WantLogits(_nodeTokens[firstNode + node]);
            FindDrafted(drafts, node);
            _sampler.Add(sequence, _drafted.Count, CollectionsMarshal.AsSpan(_drafted));
        }
    }

    /// <summary>The drafted tokens on the way to a node.</summary>
    private void FindDrafted(ReadOnlySpan<DraftNode> drafts, int node)
    {
        _drafted.Clear();
        for (; node > 0; node = drafts[node - 1].Parent) _drafted.Add(TokenOf(drafts[node - 1]));
        CollectionsMarshal.AsSpan(_drafted).Reverse();
    }

    /// <summary>Penalties count tokens, drafted ones too: only for them proposals come to the host.</summary>
    private void FetchProposals(StepPlan plan)
    {
        _proposals.Clear();
        if (_drafts.Proposals.IsEmpty) return;
        foreach (ref readonly PlanRow row in plan.Rows)
        {
            if (row.DraftTokens == 0 || !TokenSampler.DependsOnTokens(row.Sequence.Request.Sampling)) continue;
            CollectionsMarshal.SetCount(_proposals, _drafts.Proposals.Length);
            _drafts.Proposals.CopyTo(CollectionsMarshal.AsSpan(_proposals));
            return;
        }
    }

    private int TokenOf(DraftNode node) => node.Source < 0 ? node.Token : _proposals.Count > 0 ? _proposals[node.Source] : 0;

    private bool HasDropped(int node) => _pruner is not null && _pruner.HasDropped(node);
}
