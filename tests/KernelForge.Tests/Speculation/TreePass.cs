namespace KernelForge.Tests;

/// <summary>How the nodes of a tree are laid out for attention; only the first is right.</summary>
internal enum TreeLayout
{
    Paths,
    AllVisible, // one sequence after another in the order of nodes: a mask of ones
    OneSetOfBlocks, // branches in the blocks of the first path
}

/// <summary>One prompt and one tree through a model.</summary>
internal sealed class TreePass : IDisposable
{
    private const int BlockSize = 4, Blocks = 32, BranchBlocks = 8;

    private readonly Transformer _model;
    private readonly KvCache _cache;
    private readonly Arena _arena;
    private readonly BatchBuilder _builder;

    public TreePass(TinyModel tiny)
    {
        _model = Transformer.Load(Device.Cpu, tiny.Folder);
        _cache = new KvCache(Device.Cpu, _model.Config.Layers, new KvFormat(BlockSize, _model.Config.KvHeads, _model.Config.HeadDim, DType.F32), Blocks + BranchBlocks);
        _arena = new Arena(Device.Cpu, SpeculativeRunner.ArenaBytes(Device.Cpu, _model.Config, DType.F32, 128, _cache.Format, new SpeculationOptions(), 64, 8, BranchBlocks));
        _builder = new BatchBuilder(new PrefixGroupFinder(Device.Cpu, _model.Config, _cache, 16, isOn: true), BlockSize);
    }

    /// <summary>Logits after every node.</summary>
    public float[][] Logits(int[] prompt, DraftNode[] nodes, TreeLayout layout)
    {
        int[] table = [.. Enumerable.Range(0, Blocks).Reverse()];
        Compute(prompt.AsSpan(0, prompt.Length - 1), table);
        var paths = new DraftPaths(BlockSize, Blocks, BranchBlocks);
        paths.Add(0, table, prompt.Length - 1, 1, nodes);
        _arena.Reset();
        _builder.Clear();
        var places = new int[nodes.Length + 1];
        foreach (DraftPath path in paths.Paths)
        {
            if (layout != TreeLayout.AllVisible || path.Nodes.First == 0)
                _builder.BeginSequence(layout == TreeLayout.Paths ? paths.BlocksOf(path) : table, path.Start);
            foreach (int node in paths.NodesOf(path)) places[node] = node == 0 ? _builder.Add(prompt.AsSpan(prompt.Length - 1)) : _builder.Add(nodes[node - 1].Token, -1);
        }
        foreach (int place in places) _builder.WantLogits(place);
        StepBatch batch = _builder.Build(_arena);
        if (layout == TreeLayout.Paths) batch = new BranchMoves(_cache).Fork(paths, batch, _arena);
        return TreeRun.Rows(_model.Forward(batch, _cache, _arena));
    }

    /// <summary>Logits after the first tokens of a text when the others are dropped before the last layer.</summary>
    /// <param name="text">All tokens.</param>
    /// <param name="survivors">Which hidden states go on; right are 0, 1, ...</param>
    public float[][] Pruned(int[] text, int[] survivors)
    {
        _arena.Reset();
        StepBatch batch = Chain(text);
        LayerScratch scratch = _model.Begin(batch, _arena);
        _model.Apply(batch, _cache, scratch, 0..(_model.Config.Layers - 1));
        LayerScratch kept = _model.Keep(_arena.Upload<int>(survivors), scratch, _arena);
        StepBatch rest = Chain(text[..survivors.Length]);
        _model.Apply(rest, _cache, kept, (_model.Config.Layers - 1).._model.Config.Layers);
        return TreeRun.Rows(_model.Logits(rest.LogitTokens, kept.Residual, _arena));
    }

    public void Dispose()
    {
        _arena.Dispose();
        _cache.Dispose();
        _model.Dispose();
    }

    private StepBatch Chain(int[] tokens)
    {
        _builder.Clear();
        _builder.BeginSequence([.. Enumerable.Range(0, Blocks)], 0);
        _builder.Add(tokens);
        for (int i = 0; i < tokens.Length; i++) _builder.WantLogits(i);
        return _builder.Build(_arena);
    }

    private void Compute(ReadOnlySpan<int> tokens, int[] table)
    {
        _arena.Reset();
        _builder.Clear();
        _builder.BeginSequence(table, 0);
        _builder.Add(tokens);
        _model.Forward(_builder.Build(_arena), _cache, _arena);
    }
}
