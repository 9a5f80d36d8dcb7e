using System.Runtime.InteropServices;

namespace KernelForge;

/// <summary>
/// What verification needs to know about one sequence. Its nodes are the tokens whose next token the target model has chosen: node 0 is the last known token
/// of the sequence, the others are drafted tokens in a tree below it, parents before children.
/// </summary>
/// <param name="FirstNode">Index of node 0 among the nodes of all sequences.</param>
/// <param name="Nodes">Nodes of this sequence: 1 + drafted tokens.</param>
/// <param name="Length">Tokens of the sequence before the step; node 0 is the last of them.</param>
/// <param name="MaxLength">Tokens at which the sequence ends.</param>
/// <param name="MinLength">Tokens that the sequence must have before a stop token can end it.</param>
/// <param name="FirstStop">Where its stop tokens begin among those of all sequences.</param>
/// <param name="Stops">Number of its stop tokens.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly record struct DraftRow(int FirstNode, int Nodes, int Length, int MaxLength, int MinLength, int FirstStop, int Stops);
