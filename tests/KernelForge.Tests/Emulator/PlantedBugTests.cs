using System.Globalization;
using System.Text.RegularExpressions;

namespace KernelForge.Tests;

/// <summary>
/// The emulator finds bugs: each kernel with a planted one is stopped in every order of warps and lanes, with a report that names the thread and the source line, and with the
/// result a GPU gives; its correct twin runs through in the same orders.
/// </summary>
public sealed class PlantedBugTests(PrivateEmulator emulator) : IClassFixture<PrivateEmulator>
{
    private static readonly string[] EmulatedNames = ["emulated-sm80", "emulated-sm90"];

    public static TheoryData<string, string> Bugs
    {
        get
        {
            var bugs = new TheoryData<string, string>();
            foreach (string device in EmulatedNames)
                foreach (PlantedBug bug in PlantedBug.All.Where(bug => !bug.NeedsSm90 || device == "emulated-sm90")) bugs.Add(device, bug.Name);
            return bugs;
        }
    }

    public static TheoryData<string> EmulatedDevices => [.. EmulatedNames];

    [DeviceTheory, MemberData(nameof(Bugs))]
    public void Launch_PlantedBug_IsReported(string deviceName, string bugName)
    {
        PlantedBug bug = PlantedBug.Named(bugName);
        foreach (EmulatorMode mode in EmulatorMode.All)
        {
            mode.ApplyTo(emulator);
            emulator.Set("watchdog", "100000");
            using DriverSession session = emulator.Open(deviceName);

            (CUresult result, _, PlantedArgs args) = Run(session, bug, bug.Name + "_bug");

            string report = session.Driver.FaultReport ?? "no report";
            Assert.True(bug.Result == result, $"{mode}: {result} instead of {bug.Result}. {report}");
            AssertNames(bug, args, report, mode);
            AssertSticks(session, result);
        }
    }

    [DeviceTheory, MemberData(nameof(Bugs))]
    public void Launch_CorrectTwin_RunsThrough(string deviceName, string bugName)
    {
        PlantedBug bug = PlantedBug.Named(bugName);
        foreach (EmulatorMode mode in EmulatorMode.All)
        {
            mode.ApplyTo(emulator);
            using DriverSession session = emulator.Open(deviceName);

            (CUresult result, int[] output, _) = Run(session, bug, bug.Name);

            Assert.True(result == CUresult.Success, $"{mode}: {result}. {session.Driver.FaultReport}");
            Assert.Equal(Enumerable.Range(0, output.Length).Select(i => bug.Expected(Value, i)), output);
        }
    }

    [DeviceTheory, MemberData(nameof(EmulatedDevices))]
    public unsafe void Launch_OfAFreedBuffer_IsReported(string deviceName) => AssertReported(deviceName, session =>
    {
        nint input = session.Upload<int>(Values(64)), output = session.Allocate(64 * sizeof(int));
        session.Check(session.Driver.MemFree(input));
        return (Start(session, "copy_words", new(input, output, 0, 64)), input);
    }, "freed", "copy_words");

    [DeviceTheory, MemberData(nameof(EmulatedDevices))]
    public unsafe void Launch_OfAHostPointer_IsReported(string deviceName)
    {
        int[] values = GC.AllocateArray<int>(64, pinned: true);
        fixed (int* host = values)
        {
            nint address = (nint)host;
            AssertReported(deviceName, session => (Start(session, "copy_words", new(address, session.Allocate(64 * sizeof(int)), 0, 64)), address), "host", "copy_words");
        }
    }

    [DeviceTheory, MemberData(nameof(EmulatedDevices))]
    public unsafe void Launch_OfAHostPointerInDeviceMemory_IsReported(string deviceName)
    {
        int[] values = GC.AllocateArray<int>(64, pinned: true);
        fixed (int* host = values)
        {
            nint address = (nint)host;
            AssertReported(deviceName, session =>
                (Start(session, "follow_pointer", new(0, session.Allocate(64 * sizeof(int)), session.Upload<nint>([address]), 64)), address), "host", "follow_pointer");
        }
    }

    [DeviceTheory, MemberData(nameof(EmulatedDevices))]
    public void Launch_PointerInDeviceMemory_IsFollowed(string deviceName)
    {
        using DriverSession session = emulator.Open(deviceName);
        nint output = session.Allocate(64 * sizeof(int));

        session.Check(Start(session, "follow_pointer", new(0, output, session.Upload<nint>([session.Upload<int>(Values(64))]), 64)));

        Assert.Equal(Values(64), session.Download<int>(output, 64));
    }

    [DeviceTheory, MemberData(nameof(EmulatedDevices))]
    public void Download_OutputNotFullyWritten_IsReported(string deviceName)
    {
        foreach (EmulatorMode mode in EmulatorMode.All)
        {
            mode.ApplyTo(emulator);
            using DriverSession session = emulator.Open(deviceName);
            nint input = session.Upload<int>(Values(64)), output = session.Allocate(64 * sizeof(int));

            session.Check(Start(session, "output_not_fully_written_bug", new(input, output, 0, 64)));
            CUresult result = session.TryDownload<int>(output, new int[64]);

            string report = session.Driver.FaultReport ?? "no report";
            Assert.True(result == CUresult.IllegalAddress, $"{mode}: {result}. {report}");
            Assert.Contains("output not fully written", report, StringComparison.Ordinal);
            Assert.Contains(Hex(output + 63 * sizeof(int)), report, StringComparison.OrdinalIgnoreCase);
        }
    }

    [DeviceTheory, MemberData(nameof(EmulatedDevices))]
    public void Download_OutputFullyWritten_Works(string deviceName)
    {
        using DriverSession session = emulator.Open(deviceName);
        nint input = session.Upload<int>(Values(64)), output = session.Allocate(64 * sizeof(int));

        session.Check(Start(session, "output_not_fully_written", new(input, output, 0, 64)));

        Assert.Equal(Values(64), session.Download<int>(output, 64));
    }

    /// <summary>One stream writes the buffer that another one reads.</summary>
    [DeviceTheory, MemberData(nameof(EmulatedDevices))]
    public unsafe void Launch_WithoutEventWait_IsReported(string deviceName)
    {
        foreach (EmulatorMode mode in EmulatorMode.All)
        {
            mode.ApplyTo(emulator);
            using DriverSession session = emulator.Open(deviceName);

            CUresult result = CopyTwice(session, waits: false, out _);

            string report = session.Driver.FaultReport ?? "no report";
            Assert.True(result == CUresult.LaunchFailed, $"{mode}: {result}. {report}");
            Assert.Contains("copy_words", report, StringComparison.Ordinal);
            AssertLine(report, "addresses", "copy_words");
        }
    }

    [DeviceTheory, MemberData(nameof(EmulatedDevices))]
    public void Launch_WithEventWait_Works(string deviceName)
    {
        foreach (EmulatorMode mode in EmulatorMode.All)
        {
            mode.ApplyTo(emulator);
            using DriverSession session = emulator.Open(deviceName);

            CUresult result = CopyTwice(session, waits: true, out int[] output);

            Assert.True(result == CUresult.Success, $"{mode}: {result}. {session.Driver.FaultReport}");
            Assert.Equal(Values(64), output);
        }
    }

    /// <summary>The compiler trusts __restrict__ and keeps the value it has read: the emulator shows what a GPU shows.</summary>
    [DeviceTheory, MemberData(nameof(EmulatedDevices))]
    public void Launch_RestrictOnAWordThatChanges_GivesTheOldValue(string deviceName)
    {
        using DriverSession session = emulator.Open(deviceName);

        Assert.Equal(0, WordAfterChange("stale_restrict_bug"));
        Assert.Equal(100, WordAfterChange("stale_restrict"));

        int WordAfterChange(string kernel)
        {
            nint word = session.Upload<int>([7]), output = session.Allocate(64 * sizeof(int));
            session.Check(session.Launch(session.Kernel("stale_restrict", kernel), 1, 64, new PlantedArgs(0, output, word, 64)));
            return session.Download<int>(output, 64)[0];
        }
    }

    /// <summary>A descriptor that names another swizzle than the tile has is no fault; the product is wrong.</summary>
    [DeviceTheory, InlineData("emulated-sm90")]
    public void Launch_WrongSwizzle_GivesAnotherProduct(string deviceName)
    {
        using DriverSession session = emulator.Open(deviceName);
        PlantedBug bug = PlantedBug.Named("missing_wait");

        Assert.Equal(Enumerable.Range(0, 128).Select(i => bug.Expected(Value, i)), Product("wrong_swizzle"));
        Assert.NotEqual(Product("wrong_swizzle"), Product("wrong_swizzle_bug"));

        int[] Product(string kernel)
        {
            (CUresult result, int[] output, _) = Run(session, bug, kernel);
            Assert.True(result == CUresult.Success, $"{result}. {session.Driver.FaultReport}");
            return output;
        }
    }

    private static int Value(int index) => 3 * index + 1;

    private static int[] Values(int count) => [.. Enumerable.Range(0, count).Select(Value)];

    private static (CUresult Result, int[] Output, PlantedArgs Args) Run(DriverSession session, PlantedBug bug, string kernel)
    {
        int outputs = bug.Blocks * bug.Threads;
        nint input = session.Upload<int>(Values(bug.InputCount)), output = session.Allocate(outputs * sizeof(int));
        nint scratch = bug.ScratchIsWritten ? session.Upload<int>(new int[bug.InputCount]) : session.Allocate(bug.InputCount * sizeof(int));
        var args = new PlantedArgs(input, output, scratch, bug.InputCount);

        session.Check(session.Launch(session.Kernel(bug.File, kernel), bug.Blocks, bug.Threads, args, bug.DynamicSharedBytes));
        int[] values = new int[outputs];
        return (session.TryDownload<int>(output, values), values, args);
    }

    private static CUresult Start(DriverSession session, string kernel, PlantedArgs args) => session.Launch(session.Kernel("addresses", kernel), 1, 64, args);

    private static unsafe CUresult CopyTwice(DriverSession session, bool waits, out int[] output)
    {
        ICudaDriver driver = session.Driver;
        nint kernel = session.Kernel("addresses", "copy_words"), writer, reader, written;
        session.Check(driver.StreamCreate(&writer, 1)); // 1: they do not wait for stream 0
        session.Check(driver.StreamCreate(&reader, 1));
        session.Check(driver.EventCreate(&written, 2)); // 2: it takes no time
        nint input = session.Upload<int>(Values(64)), middle = session.Allocate(64 * sizeof(int)), end = session.Allocate(64 * sizeof(int));

        session.Check(session.Launch(kernel, 1, 64, new PlantedArgs(input, middle, 0, 64), stream: writer));
        session.Check(driver.EventRecord(written, writer));
        if (waits) session.Check(driver.StreamWaitEvent(reader, written, 0));
        session.Check(session.Launch(kernel, 1, 64, new PlantedArgs(middle, end, 0, 64), stream: reader));
        return session.TryDownload<int>(end, output = new int[64], reader);
    }

    private void AssertReported(string deviceName, Func<DriverSession, (CUresult Launch, nint Address)> launch, string words, string kernel)
    {
        foreach (EmulatorMode mode in EmulatorMode.All)
        {
            mode.ApplyTo(emulator);
            using DriverSession session = emulator.Open(deviceName);

            (CUresult started, nint address) = launch(session);
            session.Check(started);
            CUresult result = session.Driver.CtxSynchronize();

            string report = session.Driver.FaultReport ?? "no report";
            Assert.True(result == CUresult.IllegalAddress, $"{mode}: {result}. {report}");
            Assert.Contains(words, report, StringComparison.Ordinal);
            Match thread = Regex.Match(report, $@"kernel {kernel} block \(0,0,0\) thread \((\d+),0,0\)");
            Assert.True(thread.Success, report);
            int index = int.Parse(thread.Groups[1].Value, CultureInfo.InvariantCulture);
            Assert.Contains(Hex(address + index * sizeof(int)), report, StringComparison.OrdinalIgnoreCase);
            AssertLine(report, "addresses", kernel);
            AssertSticks(session, result);
        }
    }

    private static void AssertNames(PlantedBug bug, PlantedArgs args, string report, EmulatorMode mode)
    {
        string thread = bug.Thread?.ToString(CultureInfo.InvariantCulture) ?? @"\d+";
        Assert.True(Regex.IsMatch(report, $@"kernel {bug.Name}_bug block \(\d+,0,0\)"), $"{mode}: no kernel and block in: {report}");
        Assert.True(Regex.IsMatch(report, bug.Result == CUresult.LaunchTimeout ? "thread" : $@"thread \({thread},0,0\)"), $"{mode}: no thread {thread} in: {report}");
        Assert.True(report.Contains(bug.Words, StringComparison.Ordinal), $"{mode}: no '{bug.Words}' in: {report}");
        if (bug.Address is not null) Assert.Contains(Hex(bug.Address(args)), report, StringComparison.OrdinalIgnoreCase);
        AssertLine(report, bug.File, bug.Lines);
    }

    private static void AssertLine(string report, string file, string name)
    {
        int[] planted = TestKernels.LinesWith("planted", file, $"planted: {name}");
        Assert.NotEmpty(planted);
        IEnumerable<int> named = Regex.Matches(report, $@"{file}\.cu:(\d+)").Select(match => int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture));
        Assert.True(named.Any(planted.Contains), $"the report names no line of {string.Join(", ", planted)} of {file}.cu: {report}");
    }

    // A fault stays until the context is given back.
    private static unsafe void AssertSticks(DriverSession session, CUresult result)
    {
        nint address;
        Assert.Equal(result, session.Driver.CtxSynchronize());
        Assert.Equal(result, session.Driver.MemAlloc(&address, 16));
    }

    private static string Hex(nint address) => address.ToString("x", CultureInfo.InvariantCulture);
}
