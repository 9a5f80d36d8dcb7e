using System.Runtime.InteropServices;
using CommunityToolkit.HighPerformance;

namespace KernelForge.Tests;

public class DeviceMemoryTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private static readonly float[,] Matrix = { { 1, 2, 3 }, { 4, 5, 6 } };

    /// <summary>The CPU once: instruction sets have no memory of their own.</summary>
    public static TheoryData<string> All => [Devices.CpuNames[^1], .. Devices.CudaNames];

    public static TheoryData<string> AllCuda => Devices.AllCuda;

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void Upload_Matrix_ComesBackAsItWas(string deviceName)
    {
        Device device = devices.Open(deviceName);
        using DeviceBuffer buffer = device.Upload<float>(Matrix);

        Assert.Equal((DType.F32, 6L, 24L), (buffer.DType, buffer.Length, buffer.SizeInBytes));
        Assert.Equal(Matrix, buffer.AsMatrix(2, 3).ToArray<float>());
        Assert.Equal([1, 2, 3, 4, 5, 6], buffer.AsSpan<float>().ToArray());
    }

    [Fact]
    public void CopyFrom_Bytes_GoWhereTheyShould()
    {
        using DeviceBuffer buffer = Device.Cpu.Upload<float>(Matrix);

        buffer.CopyFrom(BitConverter.GetBytes(7f), start: 8);

        Assert.Equal([1, 2, 7, 4, 5, 6], buffer.AsSpan<float>().ToArray());
        Assert.Contains("bytes 21..25 are outside of 24", Assert.Throws<ArgumentException>(() => buffer.CopyFrom(new byte[4], start: 21)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Upload_MatrixAsAnotherType_RoundsIt()
    {
        float[,] values = { { 1, 0.1f, 3 }, { 4, 65504, -6 } };

        using DeviceBuffer buffer = Device.Cpu.Upload(new ReadOnlySpan2D<float>(values)[.., 1..], DType.F16);

        Assert.Equal([(Half)0.1f, (Half)3, (Half)65504, (Half)(-6)], buffer.AsSpan<Half>().ToArray());
        Assert.Throws<ArgumentException>(() => Device.Cpu.Upload(values, DType.I32));
    }

    [Fact]
    public void Convert_HostElements_RoundsToNearestEven()
    {
        float[] values = [.. Enumerable.Range(0, 37).Select(i => (i - 18) * 0.3f), 65519.9f, 65520, 1e-8f, 1 + 1f / 2048, 1 + 3f / 2048];
        var narrow = new Half[values.Length];

        DTypes.Convert(MemoryMarshal.AsBytes<float>(values), DType.F32, MemoryMarshal.AsBytes(narrow.AsSpan()), DType.F16);

        Assert.Equal(values.Select(value => (Half)value), narrow);
        Assert.Contains("4 bytes of F32 to 4 bytes of F16", Assert.Throws<ArgumentException>(
            () => DTypes.Convert(new byte[4], DType.F32, new byte[4], DType.F16)).Message, StringComparison.Ordinal);
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void Copy_PartsOfLargerHostAndDeviceMatrices_LeavesTheRestAlone(string deviceName)
    {
        Device device = devices.Open(deviceName);
        using DeviceBuffer buffer = device.Upload<float>(new float[4, 5]);
        DeviceMatrix part = buffer.AsMatrix(4, 5).SliceColumns(2, 2).SliceRows(1, 2);
        Memory2D<float> host = new float[3, 4];
        host.Span[1, 1] = 7;
        host.Span[2, 2] = 8;

        part.CopyFrom<float>(host.Span[1..3, 1..3]);

        Assert.Equal(new float[,] { { 0, 0, 0, 0, 0 }, { 0, 0, 7, 0, 0 }, { 0, 0, 0, 8, 0 }, { 0, 0, 0, 0, 0 } }, buffer.AsMatrix(4, 5).ToArray<float>());
        Assert.False(part.IsContiguous);
        var back = new float[3, 4];
        part.CopyTo(new Span2D<float>(back)[..2, ..2]);
        Assert.Equal(new float[,] { { 7, 0, 0, 0 }, { 0, 8, 0, 0 }, { 0, 0, 0, 0 } }, back);
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void Views_WrongTypeShapeOrRange_SayWhatWasExpected(string deviceName)
    {
        Device device = devices.Open(deviceName);
        using DeviceBuffer buffer = device.Upload<float>(Matrix);
        DeviceMatrix matrix = buffer.AsMatrix(2, 3);

        Says("holds F32, not F16", () => buffer.AsSpan<Half>());
        Says("[3, 3] does not fit into 6", () => buffer.AsMatrix(3, 3));
        Says("1..3 is outside of 2 rows", () => matrix.SliceRows(1, 2));
        Says("2..4 is outside of 3 columns", () => matrix.SliceColumns(2, 2));
        Says("F32[2, 3] cannot be seen as [3, 3]", () => matrix.Reshape(3, 3));
        Says("cannot be seen as [4, 1]", () => matrix.SliceColumns(0, 2).Reshape(4, 1)); // its rows are apart
        Says("row 2 as F32", () => matrix.Row<float>(2));
        Says("5..7 is outside of 6", () => buffer.AsSpan<float>().Slice(5, 2));
        Says("2 elements given, 6 expected", () => buffer.AsSpan<float>().CopyFrom([1, 2]));
        Says("F16[2, 3] given, F32[2, 3] expected", () => matrix.CopyFrom<Half>(new Half[2, 3]));
        Says("is no element type", () => device.Upload<long>([1]));
        Says("length -1 is negative", () => device.Allocate(DType.F32, -1));
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void Dispose_ViewsOfTheBuffer_SaySo(string deviceName)
    {
        using Device device = Devices.OpenAlone(deviceName);
        DeviceBuffer buffer = device.Upload<float>(Matrix);
        DeviceMatrix matrix = buffer.AsMatrix(2, 3);
        Assert.Equal(24, device.AllocatedBytes);

        buffer.Dispose();
        buffer.Dispose();

        Assert.Equal(0, device.AllocatedBytes);
        Assert.Throws<ObjectDisposedException>(() => matrix.ToArray<float>());
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void Operator_MemoryOfAnotherDevice_IsRefused(string deviceName)
    {
        Device device = devices.Open(deviceName);
        using Device other = Device.OpenCpu(new CpuDeviceOptions { Threads = 1 });
        using DeviceBuffer here = device.Upload<float>(Matrix), there = other.Upload<float>(Matrix);

        Says("an argument is on", () => device.Operators.SiluMul(here.AsMatrix(2, 3), there.AsMatrix(2, 3), here.AsMatrix(2, 3)));
    }

    [DeviceTheory]
    [MemberData(nameof(AllCuda))]
    public void HostViews_MemoryOfAGpu_SayWhereItIs(string deviceName)
    {
        Device device = devices.Open(deviceName);
        using DeviceBuffer buffer = device.Upload<float>(Matrix);
        Assert.False(device.IsCpu);
        Assert.Contains(device.Name, Assert.Throws<InvalidOperationException>(() => { _ = buffer.AsSpan<float>().OnCpu; }).Message, StringComparison.Ordinal);
        Assert.Contains("CopyTo", Assert.Throws<InvalidOperationException>(() => { _ = buffer.AsMatrix(2, 3).Row<float>(0); }).Message, StringComparison.Ordinal);
    }

    [DeviceTheory]
    [MemberData(nameof(AllCuda))]
    public void Wrap_MemoryOfAGpu_IsSeenAndNotFreed(string deviceName)
    {
        using Device device = Devices.OpenAlone(deviceName);
        using DeviceBuffer owner = device.Upload<float>(Matrix);
        long before = device.AllocatedBytes;

        using (DeviceBuffer part = device.Wrap(owner.Address + 3 * sizeof(float), DType.F32, 3))
        {
            Assert.Equal([4, 5, 6], part.AsSpan<float>().ToArray());
            Assert.Equal(before, device.AllocatedBytes);
        }

        Assert.Equal(Matrix, owner.AsMatrix(2, 3).ToArray<float>());
    }

    [Fact]
    public unsafe void Wrap_MemoryOfSomebodyElse_IsSeenAndNotFreed()
    {
        float* memory = stackalloc float[] { 1, 2, 3, 4, 5, 6 };
        long before = Device.Cpu.AllocatedBytes;

        using (DeviceBuffer buffer = Device.Cpu.Wrap((nint)memory, DType.F32, 6))
        {
            buffer.AsMatrix(2, 3).Row<float>(1)[0] = 40;
            Assert.Equal(before, Device.Cpu.AllocatedBytes);
        }

        Assert.Equal(40, memory[3]);
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void Arena_Reset_HandsOutTheSameAddressesAndNoMoreThanItHas(string deviceName)
    {
        Device device = devices.Open(deviceName);
        using var arena = new Arena(device, 1024);
        nint first = arena.Matrix(DType.F32, 3, 5).Address, second = arena.Span<int>(1).Address;
        Assert.Equal(512, arena.UsedBytes);
        Assert.True(second >= first + 60 && second % 64 == 0);
        Assert.Contains("600 bytes asked, 512 of 1024 left", Assert.Throws<InvalidOperationException>(() => arena.Span<byte>(600)).Message, StringComparison.Ordinal);

        arena.Reset();

        Assert.Equal(first, arena.Matrix(DType.F32, 3, 5).Address);
        Assert.Equal(second, arena.Span<int>(1).Address);
    }

    [Fact]
    public void MappedFile_RangesOutside_AreRefused()
    {
        string path = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(path, [1, 2, 3, 4, 5]);
            using (var file = new MappedFile(path))
            {
                Assert.Equal([2, 3], file.Bytes(1, 2).ToArray());
                Says("bytes 3..6 are outside of its 5", () => file.Bytes(3, 3));
                Says("bytes 0..8 are outside", () => file.AsBuffer(Device.Cpu, 0, DType.F32, 2));
            }
            File.WriteAllBytes(path, []);
            using var empty = new MappedFile(path);
            Assert.Equal(0, empty.Length);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Theory]
    [InlineData(-1, null, "-1 threads")]
    [InlineData(100_000, null, "100000 threads; expected 1 .. 1024")]
    [InlineData(1, (CpuInstructionSet)7, "7 was asked for")]
    public void OpenCpu_BadOption_SaysWhatWasExpected(int threads, CpuInstructionSet? set, string expected) =>
        Says(expected, () => Device.OpenCpu(new CpuDeviceOptions { Threads = threads, InstructionSet = set }));

    private static void Says(string expected, Action action) => Assert.Contains(expected, Assert.Throws<ArgumentException>(action).Message, StringComparison.Ordinal);

    private delegate Span<T> SpanOf<T>();

    private static void Says<T>(string expected, Func<T> function) => Says(expected, () => { function(); });

    private static void Says(string expected, SpanOf<float> function) => Says(expected, () => { function(); });
}
