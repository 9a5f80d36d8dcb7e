namespace KernelForge.Tests;

/// <summary>The checkout that the tests were built from, for files that are read where they lie.</summary>
internal static class Repository
{
    public static string Root { get; } = Find();

    private static string Find()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
            if (File.Exists(Path.Combine(folder.FullName, "KernelForge.sln"))) return folder.FullName;
        throw new InvalidOperationException($"{AppContext.BaseDirectory} is in no checkout of the repository");
    }
}
