using System.Text;
using KernelForge.Cuda;

namespace KernelForge.Tests.Cuda;

public sealed class KernelImagesTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kernels").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(80, "sm_80")]
    [InlineData(86, "sm_80")]
    [InlineData(89, "sm_89")]
    [InlineData(90, "sm_90a")]
    [InlineData(100, "sm_89")]
    [InlineData(75, null)]
    public void Find_TakesTheBestThatRuns(int computeCapability, string? expected)
    {
        foreach (string architecture in (string[])["sm_80", "sm_89", "sm_90a"]) Write(architecture, "own_kernel", architecture);
        KernelImages images = new(computeCapability, _folder);
        if (expected is null)
        {
            Assert.Contains("'own_kernel' for compute capability 7.5", Assert.Throws<CudaUnavailableException>(() => images.Find("own_kernel", out _)).Message, StringComparison.Ordinal);
            return;
        }
        Assert.Equal(expected + "\0", Encoding.ASCII.GetString(images.Find("own_kernel", out string source)));
        Assert.Equal(Path.Combine(_folder, expected, "own_kernel.ptx"), source);
    }

    [Fact]
    public void Find_Resources_AreTextEndingInNul_AndNotCopied()
    {
        KernelImages images = new(90, folder: null);
        foreach (string name in images.Names)
        {
            ReadOnlySpan<byte> image = images.Find(name, out string source);
            Assert.Equal(0, image[^1]);
            Assert.Equal(image.Length - 1, image.IndexOf((byte)0));
            Assert.True(image.IndexOf(".target sm_90a"u8) > 0, source);
            Assert.True(System.Runtime.CompilerServices.Unsafe.AreSame(in image[0], in images.Find(name, out _)[0]), $"{name} was copied");
        }
    }

    [Fact]
    public void Folder_Missing_IsAnError() =>
        Assert.Contains("does not exist", Assert.Throws<ArgumentException>(() => new KernelImages(80, "/no/such/folder")).Message, StringComparison.Ordinal);

    private void Write(string architecture, string name, string text)
    {
        Directory.CreateDirectory(Path.Combine(_folder, architecture));
        File.WriteAllText(Path.Combine(_folder, architecture, name + ".ptx"), text);
    }
}
