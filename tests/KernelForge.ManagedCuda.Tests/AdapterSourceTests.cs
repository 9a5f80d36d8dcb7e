using System.Text.RegularExpressions;
using KernelForge.Tests;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;

namespace KernelForge.ManagedCuda.Tests;

/// <summary>
/// The adapter's source against KernelForge.dll, where ManagedCuda's packages may be missing: everything that concerns types of our own must be right. Only
/// what follows from ManagedCuda's unknown names is let through.
/// </summary>
public partial class AdapterSourceTests
{
    private const string Foreign = "ManagedCuda";

    /// <summary>A name that is not there: of anything, of a type, inside a namespace, after global::.</summary>
    private static readonly HashSet<string> UnknownNames = ["CS0103", "CS0246", "CS0234", "CS0400"];

    /// <summary>Known only to the project file, which also includes System and the like.</summary>
    private const string ImplicitUsings = """
        global using System;
        global using System.Collections.Generic;
        global using System.IO;
        global using System.Linq;
        global using System.Threading;
        """;

    [Fact]
    public void Source_AgreesWithKernelForge()
    {
        string[] errors = Errors(source => source);
        Assert.True(errors.Length == 0, string.Join('\n', errors));
    }

    [Theory]
    [InlineData("public CUresult MemFree(", "public CUresult MemFreed(", "'ICudaDriver.MemFree(nint)'")]
    [InlineData("MemAlloc(nint* address, nuint bytes)", "MemAlloc(nint* address, int bytes)", "'ICudaDriver.MemAlloc(nint*, nuint)'")]
    [InlineData("CudaDrivers.Register(", "CudaDrivers.Enlist(", "'CudaDrivers' does not contain a definition for 'Enlist'")]
    [InlineData("device.WrapStream(", "device.WrapsStream(", "WrapsStream")]
    [InlineData("device.Ordinal)", "device.Ordinal.Missing)", "'int' does not contain a definition for 'Missing'")]
    [InlineData("(nuint)span.Address", "(nuint)span.Place", "'Place'")]
    [InlineData("this DeviceSpan<T> span", "this DeviceSpanned<T> span", "'DeviceSpanned<>'")]
    public void Source_ThatDoesNotAgree_IsFound(string right, string wrong, string expected)
    {
        string[] errors = Errors(source => source.Replace(right, wrong, StringComparison.Ordinal));
        Assert.Contains(errors, error => error.Contains(expected, StringComparison.Ordinal));
    }

    private static string[] Errors(Func<string, string> change)
    {
        string folder = Path.Combine(Repository.Root, "src", "KernelForge.ManagedCuda");
        CSharpParseOptions options = new(LanguageVersion.Latest);
        SyntaxTree[] trees =
        [
            CSharpSyntaxTree.ParseText(ImplicitUsings, options),
            .. Directory.EnumerateFiles(folder, "*.cs").Select(path => CSharpSyntaxTree.ParseText(change(File.ReadAllText(path)), options, path)),
        ];
        Assert.True(trees.Length > 3);
        string[] assemblies = ((string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!).Split(Path.PathSeparator);
        MetadataReference[] references =
        [
            .. assemblies.Where(path => Path.GetFileName(path) is "KernelForge.dll" or "netstandard.dll" || Path.GetFileName(path).StartsWith("System.", StringComparison.Ordinal))
                .Select(path => MetadataReference.CreateFromFile(path)),
        ];
        var compilation = CSharpCompilation.Create(
            "adapter", trees, references, new CSharpCompilationOptions(OutputKind.DynamicallyLinkedLibrary, allowUnsafe: true, nullableContextOptions: NullableContextOptions.Enable));
        HashSet<string> foreignNames = ForeignNames();
        return
        [
            .. compilation.GetDiagnostics()
                .Where(diagnostic => diagnostic.Severity == DiagnosticSeverity.Error && !IsForeign(diagnostic, foreignNames))
                .Select(diagnostic => diagnostic.ToString()),
        ];
    }

    /// <summary>Whether the error is an unknown name that the adapter's source is known to take from ManagedCuda.</summary>
    private static bool IsForeign(Diagnostic diagnostic, HashSet<string> foreignNames)
    {
        if (!UnknownNames.Contains(diagnostic.Id)) return false;
        Match name = QuotedName().Match(diagnostic.GetMessage(null));
        return name.Success && foreignNames.Contains(name.Groups[1].Value);
    }

    /// <summary>The names of ManagedCuda that the adapter uses, as the file beside this one lists them.</summary>
    private static HashSet<string> ForeignNames() =>
        [.. File.ReadAllLines(Path.Combine(Repository.Root, "tests", "KernelForge.ManagedCuda.Tests", "foreign-names.txt")).Where(line => line.Length > 0), Foreign];

    [GeneratedRegex("'(?:global::)?(?:ManagedCuda\\.)?([A-Za-z0-9_]+)[^']*'")]
    private static partial Regex QuotedName();
}
