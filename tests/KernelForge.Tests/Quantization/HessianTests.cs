using CommunityToolkit.HighPerformance;

namespace KernelForge.Tests;

public class HessianTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    [DeviceTheory, MemberData(nameof(Devices.All), MemberType = typeof(Devices))]
    public void Add_SumsProductsOfAllTokens(string deviceName)
    {
        const int Inputs = 40;
        Device device = devices.Open(deviceName);
        var random = new Random(1);
        foreach (DType type in Devices.FloatTypes(deviceName))
        {
            using var hessian = new Hessian(device, Inputs);
            var expected = new double[Inputs, Inputs];
            foreach (int tokens in (int[])[33, 1, 70]) // parts of a tile of 32, one token, tiles
            {
                var values = new float[tokens, Inputs];
                foreach (ref float value in values.AsSpan()) value = random.Next(-64, 65) / 32f; // exact in every type
                using DeviceBuffer x = device.Upload(values, type);
                hessian.Add(x.AsMatrix(tokens, Inputs));
                for (int token = 0; token < tokens; token++)
                    for (int i = 0; i < Inputs; i++)
                        for (int j = 0; j < Inputs; j++) expected[i, j] += (double)values[token, i] * values[token, j];
            }

            Assert.Equal(104, hessian.Tokens);
            Assert.Equal(expected.Cast<double>(), hessian.ToArray().Cast<float>().Select(sum => (double)sum)); // multiples of 2⁻¹⁰ below 2¹⁴: exact
        }
    }

    [Fact]
    public void Add_OtherInputs_IsRefused()
    {
        using var hessian = new Hessian(Device.Cpu, 4);
        using DeviceBuffer x = Device.Cpu.Upload<float>(new float[5]);

        var error = Assert.Throws<ArgumentException>(() => hessian.Add(x.AsMatrix(1, 5)));

        Assert.Contains("x is F32[1, 5], expected floats of 4 columns", error.Message, StringComparison.Ordinal);
    }
}
