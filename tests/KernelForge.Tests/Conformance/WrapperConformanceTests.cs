using System.Runtime.InteropServices;

namespace KernelForge.Tests;

/// <summary>
/// Every wrapper of ptx.cuh does what its definition says, bit by bit, on the emulator and on a GPU. What a GPU gave and was recorded, the emulator has to give.
/// </summary>
public class WrapperConformanceTests
{
    private const int Warps = 20;

    public static TheoryData<string, string> Wrappers => Cases.Of(Devices.CudaNames, WrapperCases.All.Select(wrapper => wrapper.Name));

    [DeviceTheory, MemberData(nameof(Wrappers))]
    public void Wrapper_GivesTheBitsOfItsDefinition(string deviceName, string wrapperName)
    {
        WrapperCases wrapper = WrapperCases.All.Single(candidate => candidate.Name == wrapperName);
        using DriverSession session = ConformanceDevice.Open(deviceName);
        uint[][] inputs = Inputs(wrapper);

        uint[] output = Run(session, wrapper, inputs);

        for (int warp = 0; warp < Warps; warp++)
        {
            string? fault = wrapper.FindFault(inputs[warp], output.AsSpan(warp * 32 * wrapper.OutputWords, 32 * wrapper.OutputWords).ToArray(), session.CapabilityMajor >= 9);
            Assert.True(fault is null, $"case {warp}, {fault}");
        }
        CompareWithRecorded(session.Architecture, wrapper, output, isHardware: deviceName == "cuda");
    }

    private static uint[][] Inputs(WrapperCases wrapper)
    {
        var random = new Random(1);
        return [.. Enumerable.Range(0, Warps).Select(warp => wrapper.Draw(random, warp))];
    }

    private static uint[] Run(DriverSession session, WrapperCases wrapper, uint[][] inputs)
    {
        int words = Warps * 32 * wrapper.OutputWords;
        nint output = session.Allocate(words * sizeof(uint));
        var args = new ConformanceArgs(session.Upload<uint>(inputs.SelectMany(input => input).ToArray()), output);
        session.Check(session.Launch(session.Kernel("wrappers", "conform_" + wrapper.Name), Warps, 32, args));
        return session.Download<uint>(output, words);
    }

    private static void CompareWithRecorded(string architecture, WrapperCases wrapper, uint[] output, bool isHardware)
    {
        if (isHardware && RecordedBits.IsRecording) RecordedBits.Write(architecture, wrapper.Name, output);
        else if ((isHardware || !wrapper.IsApproximate) && RecordedBits.Find(architecture, wrapper.Name) is uint[] recorded) Assert.Equal(recorded, output);
    }

    [StructLayout(LayoutKind.Sequential)]
    private readonly record struct ConformanceArgs(nint Input, nint Output);
}
