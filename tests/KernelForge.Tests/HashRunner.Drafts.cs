using KernelForge.Inference;

namespace KernelForge.Tests;

/// <content>Drafts and their verification: a tree of tokens below the last one, all of them computed, one path accepted.</content>
internal sealed partial class HashRunner
{
    private readonly List<Node> _nodes = [];
    private readonly Dictionary<Sequence, ulong> _kept = [];

    /// <summary>Children of a node; with more than one the last is the right one.</summary>
    public int Branches { get; init; } = 1;

    public DraftFlaw Flaw { get; init; }

    /// <summary>Chooses the row's tokens: those that plain decoding would choose, as many as the drafts reach and one more.</summary>
    private void Verify(int index, in PlanRow row, ulong state, int position)
    {
        _result.SetDraftLength(index, DraftNodes(row, state, position));
        for (int node = _nodes.Count - 1; node > 0; node--) Store(row, _nodes[node], position); // the first children's KV stays, right or wrong
        int at = 0;
        while (at >= 0)
        {
            int token = Choose(_nodes[at].State, row.Sequence, position + _nodes[at].Depth), next = ChildOf(at, token);
            if (Flaw == DraftFlaw.BonusFromDraft && next < 0 && ChildOf(at) is > 0 and int draft) token = _nodes[draft].Token;
            _result.Add(index, token, row.Sequence.Request.Sampling.LogProbs is null ? null : new TokenLogProbs(new(token, -1), []));
            at = next;
            if (at > 0) Store(row, _nodes[at], position); // realigned
        }
        _kept[row.Sequence] = _nodes[^1].State;
    }

    /// <summary>Lists the nodes of a row and returns the length of its longest chain.</summary>
    private int DraftNodes(in PlanRow row, ulong state, int position)
    {
        _nodes.Clear();
        _nodes.Add(new Node(-1, 0, 0, 0, state));
        int length = Math.Min(row.MaxTokens - 1, row.DraftTokens / Branches), tip = 0;
        if (drafts == DraftOutcome.Random) length = (int)(Draw(row, position) % (ulong)(length + 1));
        for (int depth = 0; depth < length; depth++)
        {
            int right = Choose(_nodes[tip].State, row.Sequence, position + depth), parent = tip;
            bool isRight = drafts == DraftOutcome.Random ? Draw(row, position + depth + 1) % 3 > 0 : depth != (int)drafts;
            for (int branch = Branches - 1; branch >= 0; branch--)
                AddNode(parent, (right + branch + (isRight ? 0 : 1)) % VocabularySize, position + depth);
            tip = _nodes.Count - 1;
        }
        return length;
    }

    private void AddNode(int parent, int token, int position)
    {
        ulong seen = _nodes[parent].State;
        for (int node = parent + 1; Flaw == DraftFlaw.SiblingsVisible && node < _nodes.Count; node++) seen = Fold(seen, _nodes[node].Kv);
        ulong kv = Kv(seen, token, position);
        _nodes.Add(new Node(parent, _nodes[parent].Depth + 1, token, kv, Fold(seen, kv)));
    }

    /// <summary>The first child of a node, or the one with that token; negative when there is none.</summary>
    private int ChildOf(int parent, int? token = null) => _nodes.FindIndex(node => node.Parent == parent && (token is null || node.Token == token));

    private void Store(in PlanRow row, in Node node, int position) => _slots[SlotOf(row.Sequence.Table, position + node.Depth - 1)] = node.Kv;

    private static ulong Draw(in PlanRow row, int position) => Mix(Mix((ulong)row.Sequence.Id + 99) ^ (ulong)position) >> 8;

    /// <summary>A token whose KV is computed. Node 0 is the last token of the sequence.</summary>
    private readonly record struct Node(int Parent, int Depth, int Token, ulong Kv, ulong State);
}
