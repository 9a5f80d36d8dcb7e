namespace KernelForge.Tests;

/// <summary>The command line on CUDA devices; the driver library is named by the environment, as a user would.</summary>
public sealed class CudaRunTests : IDisposable
{
    private static readonly (string, string)[] NoDriver = [("KERNELFORGE_CUDA_DRIVER", "/no/such/libcuda.so")];
    private static readonly (string, string)[] OnEmulator = [("KERNELFORGE_CUDA_DRIVER", Emulator.Path)];

    private static readonly string[] Prompts =
    [
        """{"id":"a","prompt":"Once upon a time there was","max_tokens":5,"ignore_eos":true}""",
        """{"id":"b","prompt":"Once upon a time there were","max_tokens":4,"ignore_eos":true,"temperature":0.8,"seed":3}""",
        """{"id":"c","prompt":"Two","max_tokens":3,"ignore_eos":true,"logprobs":2,"presence_penalty":0.5}""",
    ];

    private readonly KfSession _session = new();

    public void Dispose() => _session.Dispose();

    [DeviceTheory]
    [InlineData("emulated-sm80", "cuda")]
    [InlineData("emulated-sm90", "cuda:1")]
    public void Run_OnTheEmulator_AnswersAsTheCpuDoes(string subject, string device)
    {
        Assert.Equal(0, _session.Run(Prompts, "--compute-type", "f16"));
        string[] expected = Tokens();

        KfProcess kf = KfProcess.Run(OnEmulator, [.. Arguments(device), "--compute-type", "f16", "--overwrite"]);

        Assert.Equal((0, ""), (kf.ExitCode, kf.Output));
        Assert.Equal(expected, Tokens());
        Assert.Contains($"device            CUDA {(subject == "emulated-sm80" ? 0 : 1)} (", kf.Error, StringComparison.Ordinal);
        Assert.Contains("computing in F16", kf.Error, StringComparison.Ordinal);
    }

    [DeviceFact("emulated-sm80")]
    public void Run_KernelThatDoesNotLoad_StopsAndKeepsWhatIsAnswered()
    {
        _session.Run(Prompts[..1]);
        _session.Write("in.jsonl", Prompts);
        string kernels = Directory.CreateDirectory(_session.PathOf("kernels/sm_80")).Parent!.FullName;
        File.WriteAllText(Path.Combine(kernels, "sm_80", "silu_mul.ptx"), ".version 8.4\n.target sm_80\nnonsense");

        KfProcess kf = KfProcess.Run([.. OnEmulator, ("KERNELFORGE_KERNEL_PATH", kernels)], [.. Arguments("cuda"), "--resume"]);

        Assert.Equal(1, kf.ExitCode);
        Assert.Contains("failed after 1 answers; what is there is complete, and --resume goes on", kf.Error, StringComparison.Ordinal);
        Assert.Contains("silu_mul", kf.Error, StringComparison.Ordinal);
        Assert.Single(_session.OutputLines);
    }

    [Fact]
    public void Run_CudaWithoutDriver_SaysWhy()
    {
        _session.Write("in.jsonl", Prompts);

        KfProcess kf = KfProcess.Run(NoDriver, Arguments("cuda"));

        Assert.Equal(1, kf.ExitCode);
        Assert.StartsWith("kf: ", kf.Error, StringComparison.Ordinal);
        Assert.Contains("/no/such/libcuda.so", kf.Error, StringComparison.Ordinal);
        Assert.False(File.Exists(_session.Output));
    }

    [Fact]
    public void Run_AutoWithoutDriver_RunsOnTheCpu()
    {
        _session.Write("in.jsonl", Prompts);

        KfProcess kf = KfProcess.Run(NoDriver, Arguments("auto"));

        Assert.Equal(0, kf.ExitCode);
        Assert.Contains("device            CPU (", kf.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Info_WithoutDriver_SaysWhy()
    {
        KfProcess kf = KfProcess.Run(NoDriver, "info");

        Assert.Equal(0, kf.ExitCode);
        Assert.Matches("device cuda +none: .*/no/such/libcuda.so", kf.Output);
    }

    [DeviceFact("emulated-sm80")]
    public void Info_OnTheEmulator_ListsItsDevices()
    {
        KfProcess kf = KfProcess.Run(OnEmulator, "info");

        Assert.Equal(0, kf.ExitCode);
        Assert.Matches("device cuda:0 .*compute capability 8.0", kf.Output);
        Assert.Matches("device cuda:1 .*compute capability 9.0", kf.Output);
        Assert.Contains(Emulator.Path, kf.Output, StringComparison.Ordinal);
        Assert.Contains("sm_80, sm_90a", kf.Output, StringComparison.Ordinal);
    }

    private string[] Arguments(string device) =>
        ["run", "--model", _session.Model, "--input", _session.Input, "--output", _session.Output, "--device", device, "--kv-memory", "4M", "--max-sequences", "4"];

    private string[] Tokens() => [.. _session.Answers.Select(answer => answer["token_ids"]!.ToJsonString())];
}
