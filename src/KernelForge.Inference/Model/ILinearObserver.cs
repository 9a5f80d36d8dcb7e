namespace KernelForge.Inference;

/// <summary>The inputs that the linear maps of a layer have.</summary>
internal enum LinearInput
{
    /// <summary>Of the query, key and value projections.</summary>
    Attention,

    /// <summary>Of the attention's output projection.</summary>
    AttentionOutput,

    /// <summary>Of the gate and up projections.</summary>
    Mlp,

    /// <summary>Of the down projection.</summary>
    MlpOutput,
}

/// <summary>Sees what the linear maps of a layer are given: how a model is calibrated.</summary>
internal interface ILinearObserver
{
    /// <summary>An input, [tokens, inputs], valid during the call.</summary>
    void Observe(LinearInput input, in DeviceMatrix x);
}
