using System.Runtime.InteropServices;

namespace KernelForge.Tests;

/// <summary>
/// cp.async, ldmatrix and the tensor cores together, on multiples of 1/8 of small integers: every product and sum is exact, so one misplaced element shows, and no device may differ.
/// </summary>
public class ExactProductTests
{
    private const int Rows = 16, Columns = 8;

    // One step, two steps (both stages once), an odd number of steps, many.
    public static TheoryData<string, string, int> Products => Cases.Of(Devices.CudaNames, ["f16", "bf16"], [16, 32, 80, 512]);

    [DeviceTheory, MemberData(nameof(Products))]
    public void Product_OfExactNumbers_IsExact(string deviceName, string type, int depth)
    {
        using DriverSession session = ConformanceDevice.Open(deviceName);
        var random = new Random(depth);
        float[] a = Draw(random, Rows * depth), b = Draw(random, Columns * depth);
        nint product = session.Allocate(Rows * Columns * sizeof(float));
        DType dtype = type == "f16" ? DType.F16 : DType.BF16;
        var args = new ExactProductArgs(session.Upload<byte>(Numbers.ToBytes(a, dtype)), session.Upload<byte>(Numbers.ToBytes(b, dtype)), product, depth);

        session.Check(session.Launch(session.Kernel("exact_product", $"exact_product_{type}"), 1, 32, args));

        Assert.Equal(Multiply(a, b, depth), session.Download<float>(product, Rows * Columns));
    }

    // At most 512 products of at most 16, in units of 1/64: fewer than 24 bits.
    private static float[] Draw(Random random, int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(-32, 33) / 8f)];

    private static float[] Multiply(float[] a, float[] b, int depth)
    {
        var product = new float[Rows * Columns];
        for (int row = 0; row < Rows; row++)
            for (int column = 0; column < Columns; column++)
                for (int k = 0; k < depth; k++) product[row * Columns + column] += a[row * depth + k] * b[column * depth + k];
        return product;
    }

    [StructLayout(LayoutKind.Sequential)]
    private readonly record struct ExactProductArgs(nint A, nint B, nint Product, int Depth);
}
