namespace KernelForge.Inference;

/// <summary>A drafted token in the tree below the last token of its sequence.</summary>
/// <param name="Parent">Node it follows, counted within its sequence: 0 is the last token of the sequence, 1 the first drafted one.</param>
/// <param name="Token">Its id; not used where <paramref name="Source"/> is 0 or more.</param>
/// <param name="Source">Where its id is among <see cref="DraftBatch.Proposals"/>; negative when <paramref name="Token"/> is known on the host.</param>
public readonly record struct DraftNode(int Parent, int Token, int Source);
