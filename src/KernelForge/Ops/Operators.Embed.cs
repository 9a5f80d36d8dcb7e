namespace KernelForge;

public abstract partial class Operators
{
    /// <summary>
    /// Copies table row rows[i] to result row i: token embedding, or gathering some rows of a matrix.
    /// </summary>
    /// <param name="rows">[n] row numbers in 0 .. table.Rows - 1.</param>
    /// <param name="table">[any, columns].</param>
    /// <param name="result">[n, columns].</param>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit, or (on the CPU) a row number is outside of the table.</exception>
    public void Embed(DeviceSpan<int> rows, in DeviceMatrix table, in DeviceMatrix result)
    {
        CheckFloat("Embed", "table", table);
        CheckFloat("Embed", "result", result, rows.Length, table.Columns);
        CheckLength("Embed", "rows", rows, result.Rows);
        if (!result.IsEmpty) EmbedCore(rows, table, result);
    }

    /// <summary>Computes <see cref="Embed"/> on checked arguments.</summary>
    protected abstract void EmbedCore(DeviceSpan<int> rows, in DeviceMatrix table, in DeviceMatrix result);
}
