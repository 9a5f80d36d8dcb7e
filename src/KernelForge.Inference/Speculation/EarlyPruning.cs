namespace KernelForge.Inference;

/// <summary>
/// Drops nodes of token trees in the middle of the model's pass (ProPD, arXiv:2402.13485): what its first layers predict decides which nodes the others take.
/// Changes no token of any answer. A dropped token may have been a right one, and then a step gains fewer.
/// </summary>
/// <param name="Layers">Layers before nodes are dropped: 1 to all but one.</param>
/// <param name="Keep">Most tokens that may follow a node: those that the first layers predict best. Nodes with other tokens are dropped, with all below them.</param>
public sealed record EarlyPruning(int Layers, int Keep);
