using System.Runtime.InteropServices;
using System.Text.Json;

namespace KernelForge.Tests;

/// <summary>
/// What a GPU gave for the cases of every wrapper: recorded/sm_XX.json beside the tests, base64 by wrapper. KF_RECORD_CONFORMANCE=1 writes the file of the GPU that is here.
/// </summary>
internal static class RecordedBits
{
    private static readonly Lock Writing = new();

    public static bool IsRecording => Environment.GetEnvironmentVariable("KF_RECORD_CONFORMANCE") == "1";

    /// <summary>The words of one wrapper; null when no GPU of this architecture has been recorded.</summary>
    public static uint[]? Find(string architecture, string wrapper) =>
        Read(architecture).TryGetValue(wrapper, out string? text) ? MemoryMarshal.Cast<byte, uint>(Convert.FromBase64String(text)).ToArray() : null;

    public static void Write(string architecture, string wrapper, ReadOnlySpan<uint> words)
    {
        string text = Convert.ToBase64String(MemoryMarshal.AsBytes(words));
        lock (Writing)
        {
            SortedDictionary<string, string> all = Read(architecture);
            all[wrapper] = text;
            Directory.CreateDirectory(Path.GetDirectoryName(File(architecture))!);
            System.IO.File.WriteAllText(File(architecture), JsonSerializer.Serialize(all));
        }
    }

    private static SortedDictionary<string, string> Read(string architecture) =>
        System.IO.File.Exists(File(architecture)) ? JsonSerializer.Deserialize<SortedDictionary<string, string>>(System.IO.File.ReadAllText(File(architecture)))! : [];

    private static string File(string architecture) =>
        Path.Combine(Repository.Files, "tests", "KernelForge.Tests", "Conformance", "recorded", architecture + ".json");
}
