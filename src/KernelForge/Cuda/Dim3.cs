namespace KernelForge;

/// <summary>Blocks of a grid or threads of a block in three dimensions.</summary>
/// <param name="X">The first dimension, which runs fastest.</param>
/// <param name="Y">The second.</param>
/// <param name="Z">The third.</param>
public readonly record struct Dim3(int X, int Y = 1, int Z = 1)
{
    /// <summary>Blocks or threads in all.</summary>
    public long Count => (long)X * Y * Z;

    /// <summary>One dimension.</summary>
    public static implicit operator Dim3(int x) => new(x);

    /// <summary>Two dimensions.</summary>
    public static implicit operator Dim3((int X, int Y) size) => new(size.X, size.Y);

    /// <summary>Three dimensions.</summary>
    public static implicit operator Dim3((int X, int Y, int Z) size) => new(size.X, size.Y, size.Z);

    /// <summary>Three dimensions, as the implicit conversion.</summary>
    public static Dim3 ToDim3(int x) => x;

    /// <inheritdoc/>
    public override string ToString() => $"({X}, {Y}, {Z})";
}
