namespace KernelForge.Inference;

/// <summary>One of a layer's linear maps, whose weights are quantised.</summary>
/// <param name="Name">As in model.layers.0.mlp.down_proj.</param>
/// <param name="Input">What it multiplies.</param>
/// <param name="Outputs">N.</param>
/// <param name="Inputs">K.</param>
internal sealed record LinearMap(string Name, LinearInput Input, int Outputs, int Inputs)
{
    /// <summary>Name of its dense weights.</summary>
    public string Weight => Name + ".weight";

    /// <summary>All of a layer, those with the same input side by side.</summary>
    public static IReadOnlyList<LinearMap> Of(ModelConfig config, int layer)
    {
        string name = TransformerLayer.NameOf(layer);
        int hidden = config.HiddenSize, queries = config.QueryHeads * config.HeadDim, kv = config.KvHeads * config.HeadDim, mlp = config.MlpSize;
        return
        [
            new(name + ".self_attn.q_proj", LinearInput.Attention, queries, hidden),
            new(name + ".self_attn.k_proj", LinearInput.Attention, kv, hidden),
            new(name + ".self_attn.v_proj", LinearInput.Attention, kv, hidden),
            new(name + ".self_attn.o_proj", LinearInput.AttentionOutput, hidden, queries),
            new(name + ".mlp.gate_proj", LinearInput.Mlp, mlp, hidden),
            new(name + ".mlp.up_proj", LinearInput.Mlp, mlp, hidden),
            new(name + ".mlp.down_proj", LinearInput.MlpOutput, hidden, mlp),
        ];
    }
}
