using System.Globalization;
using KernelForge.Cpu;

namespace KernelForge.Tests;

public unsafe class HugePagesTests
{
    [Theory]
    [InlineData(HugePages.Worthwhile, true)]
    [InlineData(HugePages.Worthwhile + 12_345, true)]
    [InlineData(HugePages.Worthwhile - 1, false)]
    public void Allocate_LargeOrNot_StartsAtAPageAndAsksForHugeOnes(long bytes, bool isLarge)
    {
        using DeviceBuffer buffer = Device.Cpu.Allocate(DType.I8, bytes);
        var memory = new Span<byte>((void*)buffer.Address, (int)bytes);
        memory.Fill(7);

        Assert.Equal(-1, memory.IndexOfAnyExcept((byte)7));
        Assert.Equal(0, buffer.Address % (isLarge ? HugePages.Size : 64));
        if (isLarge && Directory.Exists("/sys/kernel/mm/transparent_hugepage")) Assert.Contains("hg", FlagsAt(buffer.Address));
    }

    /// <summary>What Linux says of the pages at an address.</summary>
    private static string[] FlagsAt(nint address)
    {
        bool isHere = false;
        foreach (string line in File.ReadLines("/proc/self/smaps"))
        {
            if (line.Split(' ')[0].Split('-') is [var first, var end] && long.TryParse(first, NumberStyles.HexNumber, CultureInfo.InvariantCulture, out long start))
                isHere = start <= address && address < long.Parse(end, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            else if (isHere && line.StartsWith("VmFlags:", StringComparison.Ordinal)) return line.Split(' ');
        }
        return [];
    }
}
