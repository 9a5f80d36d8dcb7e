namespace KernelForge.Tests;

/// <summary>The checkout that the tests were built from, for files that are read where they lie.</summary>
internal static class Repository
{
    private static readonly string? Found = Find();

    /// <summary>Whether the tests run inside of a checkout.</summary>
    public static bool IsHere => Found is not null;

    /// <summary>Where build outputs lie that tests read: the checkout, or beside the tests where they were brought to another machine.</summary>
    public static string Files => Found ?? AppContext.BaseDirectory;

    public static string Root => Found ?? throw new InvalidOperationException($"{AppContext.BaseDirectory} is in no checkout of the repository");

    private static string? Find()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
            if (File.Exists(Path.Combine(folder.FullName, "KernelForge.sln"))) return folder.FullName;
        return null;
    }
}
