using CommunityToolkit.HighPerformance;

namespace KernelForge.Tests;

public class DeviceMemoryTests
{
    private static readonly float[,] Matrix = { { 1, 2, 3 }, { 4, 5, 6 } };

    [Fact]
    public void Upload_Matrix_ComesBackAsItWas()
    {
        using DeviceBuffer buffer = Device.Cpu.Upload<float>(Matrix);

        Assert.Equal((DType.F32, 6L, 24L), (buffer.DType, buffer.Length, buffer.SizeInBytes));
        Assert.Equal(Matrix, buffer.AsMatrix(2, 3).ToArray<float>());
        Assert.Equal([1, 2, 3, 4, 5, 6], buffer.AsSpan<float>().ToArray());
    }

    [Fact]
    public void Copy_PartsOfLargerHostAndDeviceMatrices_LeavesTheRestAlone()
    {
        using DeviceBuffer buffer = Device.Cpu.Upload<float>(new float[4, 5]);
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

    [Fact]
    public void Views_WrongTypeShapeOrRange_SayWhatWasExpected()
    {
        using DeviceBuffer buffer = Device.Cpu.Upload<float>(Matrix);
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
        Says("is no element type", () => Device.Cpu.Upload<long>([1]));
        Says("length -1 is negative", () => Device.Cpu.Allocate(DType.F32, -1));
    }

    [Fact]
    public void Dispose_ViewsOfTheBuffer_SaySo()
    {
        using Device device = Device.OpenCpu(new CpuDeviceOptions { Threads = 1 });
        DeviceBuffer buffer = device.Upload<float>(Matrix);
        DeviceMatrix matrix = buffer.AsMatrix(2, 3);
        Assert.Equal(24, device.AllocatedBytes);

        buffer.Dispose();
        buffer.Dispose();

        Assert.Equal(0, device.AllocatedBytes);
        Assert.Throws<ObjectDisposedException>(() => matrix.ToArray<float>());
    }

    [Fact]
    public void Operator_MemoryOfAnotherDevice_IsRefused()
    {
        using Device other = Device.OpenCpu(new CpuDeviceOptions { Threads = 1 });
        using DeviceBuffer here = Device.Cpu.Upload<float>(Matrix), there = other.Upload<float>(Matrix);

        Says("an argument is on", () => Device.Cpu.Operators.SiluMul(here.AsMatrix(2, 3), there.AsMatrix(2, 3), here.AsMatrix(2, 3)));
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

    [Fact]
    public void Arena_Reset_HandsOutTheSameAddressesAndNoMoreThanItHas()
    {
        using var arena = new Arena(Device.Cpu, 1024);
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
