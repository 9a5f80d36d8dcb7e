using System.Text.Json;
using KernelForge.Inference;

namespace KernelForge.Bench;

/// <summary>The demo of samples/tickets: two models and prompts of four tasks.</summary>
internal static class TicketsDemo
{
    public static readonly string[] Tasks = ["triage", "directory", "logs", "shop"];

    private static readonly string Folder = Path.Combine(Repository(), "samples", "tickets");

    public static string Model => Path.Combine(Folder, "model");

    public static string Draft => Path.Combine(Folder, "draft");

    /// <summary>Requests for prompts in the order of the file, of one task or, without a name, of all.</summary>
    public static IEnumerable<Request> Requests(Engine engine, string task = "")
    {
        foreach (string line in File.ReadLines(Path.Combine(Folder, "prompts.jsonl")))
        {
            JsonElement prompt = JsonElement.Parse(line);
            if (!prompt.GetProperty("id").GetString()!.StartsWith(task, StringComparison.Ordinal)) continue;
            yield return engine.CreateRequest(
                prompt.GetProperty("prompt").GetString()!, new SamplingOptions { MaxTokens = prompt.GetProperty("max_tokens").GetInt32() });
        }
    }

    private static string Repository()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
            if (File.Exists(Path.Combine(folder.FullName, "KernelForge.sln"))) return folder.FullName;
        throw new InvalidOperationException($"{AppContext.BaseDirectory} is in no checkout of the repository");
    }
}
