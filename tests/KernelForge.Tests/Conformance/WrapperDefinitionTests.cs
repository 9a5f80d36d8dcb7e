using System.Text.RegularExpressions;

namespace KernelForge.Tests;

/// <summary>The conformance kit is complete, and its definition of a tensor-core product is right where the answer is known.</summary>
public class WrapperDefinitionTests
{
    /// <summary>A wrapper that nobody tests is a wrapper that nobody knows.</summary>
    [Fact]
    public void EveryWrapper_HasAMicroKernelAndADefinition()
    {
        string header = File.ReadAllText(Path.Combine(Repository.Root, "native", "include", "kf", "ptx.cuh"));
        string kernels = TestKernels.Source("conformance");

        string[] wrappers = [.. Regex.Matches(header, @"KF_INLINE\s+\w+\s+(\w+)(?:<(\w+)>)?\([^;{]*\)\s*\{").Select(match => Named(match.Groups[1].Value, match.Groups[2].Value))];

        Assert.NotEmpty(wrappers);
        Assert.Equal(wrappers.Order(StringComparer.Ordinal), WrapperCases.All.Select(wrapper => wrapper.Name).Order(StringComparer.Ordinal));
        Assert.All(wrappers, wrapper => Assert.Contains($"conform_{wrapper}(", kernels, StringComparison.Ordinal));
    }

    /// <summary>Those of sm_90a work together; each is called in sm90.cu.</summary>
    [Fact]
    public void EveryWrapperOfSm90_IsCalledByAMicroKernel()
    {
        string header = File.ReadAllText(Path.Combine(Repository.Root, "native", "include", "kf", "ptx_sm90.cuh"));
        string kernels = File.ReadAllText(Path.Combine(Repository.Root, "native", "tests", "conformance", "sm90.cu"));

        string[] wrappers = [.. Regex.Matches(header, @"KF_INLINE\s+\w+\s+(\w+)\([^;{]*\)\s*\{").Select(match => match.Groups[1].Value).Distinct()];

        Assert.Contains("wgmma_registers", wrappers);
        Assert.All(wrappers.Except(["mbarrier_try_wait_parity"]), wrapper => Assert.Matches($@"\b{wrapper}(<[^;]*>)?\(", kernels)); // mbarrier_wait calls that one
    }

    /// <summary>The definition of a product, on numbers whose sum is exact: it is the sum.</summary>
    [Theory, InlineData(false), InlineData(true)]
    public void Definition_OfExactProducts_IsTheirSum(bool isHopper)
    {
        var random = new Random(3);
        ushort[] a = new ushort[16], b = new ushort[16];
        double sum = 2.5;
        for (int k = 0; k < 16; k++)
        {
            double x = random.Next(-32, 33) / 8.0, y = random.Next(-32, 33) / 8.0;
            (a[k], b[k], sum) = (BitConverter.HalfToUInt16Bits((Half)x), BitConverter.HalfToUInt16Bits((Half)y), sum + x * y);
        }

        Assert.Equal((float)sum, BitConverter.UInt32BitsToSingle(TensorCoreDefinition.Add(DType.F16, isHopper, a, b, BitConverter.SingleToUInt32Bits(2.5f))));
    }

    // 1 + 2^-25 + 2^-25 + 2^-24 is the float after 1. With 24 fraction bits the two smallest are cut off, and the sum is 1.
    [Theory, InlineData(false, 0x3F800000u), InlineData(true, 0x3F800001u)]
    public void Definition_OfSmallProducts_KeepsTheFractionBitsOfTheArchitecture(bool isHopper, uint expected)
    {
        double[] factors = [1, Math.ScaleB(1, -13), Math.ScaleB(1, -13), Math.ScaleB(1, -12)];
        double[] others = [1, Math.ScaleB(1, -12), Math.ScaleB(1, -12), Math.ScaleB(1, -12)];
        ushort[] a = new ushort[16], b = new ushort[16];
        for (int k = 0; k < factors.Length; k++) (a[k], b[k]) = (BitConverter.HalfToUInt16Bits((Half)factors[k]), BitConverter.HalfToUInt16Bits((Half)others[k]));

        Assert.Equal(expected, TensorCoreDefinition.Add(DType.F16, isHopper, a, b, 0));
    }

    private static string Named(string function, string type) => type switch
    {
        "" => function,
        "half" => function + "_f16",
        _ => $"{function}_{type}",
    };
}
