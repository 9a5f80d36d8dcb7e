using System.Diagnostics;

namespace KernelForge.Tests;

/// <summary><c>kf</c> as a process of its own, for what depends on environment variables.</summary>
internal sealed record KfProcess(int ExitCode, string Output, string Error)
{
    public static KfProcess Run((string Name, string Value)[] environment, params string[] arguments)
    {
        string host = Environment.ProcessPath!, kf = Path.Combine(AppContext.BaseDirectory, "kf");
        bool isShared = Path.GetFileNameWithoutExtension(host) == "dotnet";
        var start = new ProcessStartInfo(isShared ? host : kf, isShared ? [kf + ".dll", .. arguments] : arguments)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach ((string name, string value) in environment) start.Environment[name] = value;
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return new KfProcess(process.ExitCode, output, error.Result);
    }
}
