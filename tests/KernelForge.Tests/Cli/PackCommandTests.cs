namespace KernelForge.Tests;

/// <summary><c>kf pack</c>, and what <c>kf run</c> and <c>kf info</c> do with its file.</summary>
public sealed class PackCommandTests : IDisposable
{
    private static readonly string[] Prompts = ["""{"id":"a","prompt":"abc","max_tokens":5,"ignore_eos":true}""", """{"id":"b","prompt":"abd","max_tokens":5,"ignore_eos":true}"""];

    private readonly KfSession _session = new();

    private string Packed => Path.Combine(_session.Model, "model.kfpack");

    public void Dispose() => _session.Dispose();

    [Fact]
    public void Run_PackedOrNot_GivesTheSameAnswers()
    {
        Assert.Equal(0, _session.Run(Prompts, "--quiet", "--packed", "off"));
        string[] expected = _session.OutputLines;
        Assert.Contains("packed when loaded, or once by kf pack", Info(), StringComparison.Ordinal);
        Assert.Equal(0, _session.Kf("pack", "--model", _session.Model));
        Assert.Matches(@"^.*model\.kfpack: [0-9.]+ KiB\n$", _session.Error);
        Assert.Contains("mapped from model.kfpack", Info(), StringComparison.Ordinal);

        foreach (string[] options in (string[][])[[], ["--packed", Packed], ["--packed", "off"], ["--no-pack"]])
        {
            Assert.Equal(0, _session.Rerun(["--quiet", "--overwrite", .. options]));
            Assert.Equal(("", expected.Length), (_session.Error, _session.OutputLines.Length));
            Assert.Equal(expected, _session.OutputLines);
        }
    }

    [Fact]
    public void Run_FileThatDoesNotFit_SaysSoAndPacksUnlessItWasAskedFor()
    {
        string file = _session.PathOf("small.kfpack");
        Assert.Equal(0, _session.Kf("pack", "--model", _session.Model, "--output", file, "--quiet"));
        Assert.Equal("", _session.Error);
        File.Copy(file, Packed);
        File.SetLastWriteTimeUtc(Path.Combine(_session.Model, "model.safetensors"), DateTime.UtcNow.AddDays(-1));

        Assert.Equal(0, _session.Run(Prompts, "--quiet"));
        Assert.Matches($"^kf: .*model.kfpack does not fit the model: its source is .*, expected .*; kf pack makes a new one. Weights are packed in memory.{Environment.NewLine}$", _session.Error);
        Assert.Contains("packed when loaded: ", Info(), StringComparison.Ordinal);
        Assert.Equal(1, _session.Rerun("--overwrite", "--packed", file));
        Assert.StartsWith($"kf: {file} does not fit the model: ", _session.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("kf: --model is missing.")]
    [InlineData("kf: The model folder none does not exist.", "--model", "none")]
    [InlineData("kf: --compute-type must be f32 or bf16 or f16, not 'f8'.", "--model", "MODEL", "--compute-type", "f8")]
    public void Pack_WrongUse_IsOneSentence(string expected, params string[] arguments)
    {
        Assert.Equal(1, _session.Kf(["pack", .. arguments.Select(argument => argument == "MODEL" ? _session.Model : argument)]));
        Assert.Equal(expected + Environment.NewLine, _session.Error);
    }

    [Fact]
    public void Run_BothOptions_ExcludeEachOther()
    {
        Assert.Equal(1, _session.Run(Prompts, "--no-pack", "--packed", "x"));
        Assert.Equal("kf: --packed and --no-pack exclude each other." + Environment.NewLine, _session.Error);
    }

    [Fact]
    public void Pack_Interrupted_LeavesNothing()
    {
        string[] before = Directory.GetFiles(_session.Model);

        Assert.Equal(130, _session.Kf(["pack", "--model", _session.Model], "", new CancellationToken(canceled: true)));

        Assert.Equal("kf: Interrupted; nothing is written." + Environment.NewLine, _session.Error);
        Assert.Equal(before, Directory.GetFiles(_session.Model));
    }

    private string Info()
    {
        Assert.Equal(0, _session.Kf("info", "--model", _session.Model, "--device", "cpu"));
        return _session.StandardOutput;
    }
}
