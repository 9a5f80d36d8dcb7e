using Arguments = KernelForge.Tests.TensorMaps.Arguments;

namespace KernelForge.Tests;

/// <summary>The emulator holds the arguments of cuTensorMapEncodeTiled to the driver's rules, and says which one is broken.</summary>
public sealed class TensorMapRuleTests(PrivateEmulator emulator) : IClassFixture<PrivateEmulator>
{
    private const string DeviceName = "emulated-sm90";

    private static readonly Dictionary<string, (Arguments Arguments, CUresult Result)> Cases = new()
    {
        ["rank 6"] = (new() { Sizes = [8, 1, 1, 1, 1, 1], Strides = [16, 16, 16, 16, 16], Box = [8, 1, 1, 1, 1, 1] }, CUresult.InvalidValue),
        ["rank 0"] = (new() { Sizes = [], Strides = [], Box = [] }, CUresult.InvalidValue),
        ["expected a multiple of 16"] = (new() { Address = 4104 }, CUresult.InvalidValue),
        ["size 1 is 0"] = (new() { Sizes = [64, 0] }, CUresult.InvalidValue),
        ["stride 0 is 120 bytes"] = (new() { Strides = [120] }, CUresult.InvalidValue),
        ["stride 0 is 1099511627776 bytes"] = (new() { Strides = [1L << 40] }, CUresult.InvalidValue),
        ["box 1 is 257"] = (new() { Box = [64, 257] }, CUresult.InvalidValue),
        ["box 0 is 0"] = (new() { Box = [0, 16] }, CUresult.InvalidValue),
        ["inner box is 24 bytes"] = (new() { Box = [12, 16] }, CUresult.InvalidValue),
        ["a swizzle of 128 takes no more"] = (new() { Box = [72, 16] }, CUresult.InvalidValue),
        ["a swizzle of 32 takes no more"] = (new() { Swizzle = 1 }, CUresult.InvalidValue),
        ["element stride 0 is 9"] = (new() { ElementStride = 9 }, CUresult.InvalidValue),
        ["data type 13"] = (new() { Type = 13 }, CUresult.InvalidValue),
        ["swizzle 4"] = (new() { Swizzle = 4 }, CUresult.InvalidValue),
        ["interleave 3"] = (new() { Interleave = 3 }, CUresult.InvalidValue),
        ["promotion -1"] = (new() { Promotion = -1 }, CUresult.InvalidValue),
        ["fill 1 of data type 1"] = (new() { Type = 1, Fill = 1 }, CUresult.InvalidValue),
        ["multiple of 64 bytes"] = (new() { Misplaced = 16 }, CUresult.InvalidValue),
        ["no interleaved tensors"] = (new() { Interleave = 1 }, CUresult.NotSupported),
        ["no element strides above 1"] = (new() { ElementStride = 2 }, CUresult.NotSupported),
        ["no filling with NaN"] = (new() { Fill = 1 }, CUresult.NotSupported),
        ["no an inner box of 64 bytes"] = (new() { Box = [32, 16] }, CUresult.NotSupported),
    };

    public static TheoryData<string, string> Rules => KernelForge.Tests.Cases.Of([DeviceName], Cases.Keys);

    [DeviceTheory, MemberData(nameof(Rules))]
    public void Encode_RuleBroken_SaysWhich(string deviceName, string words)
    {
        using DriverSession session = emulator.Open(deviceName);
        (Arguments arguments, CUresult expected) = Cases[words];

        CUresult result = TensorMaps.TryEncode(session.Driver, arguments, out _);

        Assert.Equal((expected, true), (result, session.Driver.FaultReport?.Contains(words, StringComparison.Ordinal)));
    }

    [DeviceTheory, InlineData(DeviceName)]
    public void Encode_RulesKept_Succeeds(string deviceName)
    {
        using DriverSession session = emulator.Open(deviceName);

        Assert.Equal(CUresult.Success, TensorMaps.TryEncode(session.Driver, new(), out _));
        Assert.Equal(CUresult.Success, TensorMaps.TryEncode(session.Driver, new() { Swizzle = 0, Box = [256, 256] }, out _));
    }

    [DeviceTheory, InlineData("emulated-sm80")]
    public void Encode_OnAnOlderDevice_IsNotSupported(string deviceName)
    {
        using DriverSession session = emulator.Open(deviceName);

        Assert.Equal(CUresult.NotSupported, TensorMaps.TryEncode(session.Driver, new(), out _));
    }
}
