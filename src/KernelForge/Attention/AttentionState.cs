namespace KernelForge;

/// <summary>Attention over a part of the keys: the normalised result and how much it weighs. Two over disjoint keys can be merged.</summary>
/// <param name="Out">[tokens, query_heads · head_dim], what the softmax over these keys alone gives; 0 where there was no key.</param>
/// <param name="Lse">F32 [tokens, query_heads], natural logarithm of the sum of the exponentials of the scores; -∞ where there was no key.</param>
public readonly record struct AttentionState(DeviceMatrix Out, DeviceMatrix Lse);
