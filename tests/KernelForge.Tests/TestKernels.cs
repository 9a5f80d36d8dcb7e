namespace KernelForge.Tests;

/// <summary>Kernels that only tests run: native/tests, compiled to artifacts/test-kernels.</summary>
internal static class TestKernels
{
    private static string Sources => Path.Combine(Repository.Root, "native", "tests");

    /// <summary>PTX of a file by its name, ending in NUL.</summary>
    public static byte[] Read(string file, string architecture) =>
        [.. File.ReadAllBytes(Path.Combine(Repository.Files, "artifacts", "test-kernels", architecture, file + ".ptx")), 0];

    /// <summary>Source text of all files of a folder under native/tests.</summary>
    public static string Source(string folder) =>
        string.Concat(Directory.EnumerateFiles(Path.Combine(Sources, folder), "*.cu").Order(StringComparer.Ordinal).Select(File.ReadAllText));

    /// <summary>Numbers of the lines of a file that carry a comment.</summary>
    public static int[] LinesWith(string folder, string file, string comment)
    {
        string[] lines = File.ReadAllLines(Path.Combine(Sources, folder, file + ".cu"));
        return [.. Enumerable.Range(1, lines.Length).Where(number => lines[number - 1].EndsWith("// " + comment, StringComparison.Ordinal))];
    }
}
