using System.Text;
using System.Text.Json.Nodes;
using KernelForge.Cli;

namespace KernelForge.Tests;

/// <summary>
/// A folder with a tiny model, a tokenizer of its 97 ids (begin, end, the printable ASCII characters) and the files of a command.
/// </summary>
internal sealed class KfSession : IDisposable
{
    private const string Template = "{{ bos_token }}{% for message in messages %}{{ message.role }}: {{ message.content }} {% endfor %}A:";

    private readonly TinyModel _model = TinyModel.Create("llama");
    private readonly string _files = Directory.CreateTempSubdirectory("kf-cli-").FullName;

    public KfSession()
    {
        string[] characters = [.. Enumerable.Range(' ', '~' - ' ' + 1).Select(value => ByteAlphabet.CharacterOf((byte)value).ToString())];
        File.WriteAllText(Path.Combine(Model, "tokenizer.json"), TokenizerFiles.Write(
            ["<s>", "</s>", .. characters], [], TokenizerFiles.ByteLevelGpt2, """{"type":"ByteLevel"}""",
            addedTokens: """[{"id":0,"content":"<s>","special":true},{"id":1,"content":"</s>","special":true}]""",
            postProcessor: TokenizerFiles.Template("<s>", 0)));
        File.WriteAllText(Path.Combine(Model, "tokenizer_config.json"), new JsonObject { ["bos_token"] = "<s>", ["chat_template"] = Template }.ToJsonString());
    }

    public string Model => _model.Folder;

    public string Input => PathOf("in.jsonl");

    public string Output => PathOf("out.jsonl");

    public string Error { get; private set; } = "";

    public string StandardOutput { get; private set; } = "";

    /// <summary>Lines of the output as they are.</summary>
    public string[] OutputLines => File.ReadAllLines(Output);

    public JsonNode[] Answers => [.. OutputLines.Select(line => JsonNode.Parse(line)!)];

    public string PathOf(string name) => Path.Combine(_files, name);

    public string Write(string name, params string[] lines)
    {
        File.WriteAllText(PathOf(name), string.Concat(lines.Select(line => line + "\n")));
        return PathOf(name);
    }

    /// <summary><c>kf run</c> over the lines, to <see cref="Output"/>.</summary>
    public int Run(string[] lines, params string[] options)
    {
        Write("in.jsonl", lines);
        return Rerun(options);
    }

    /// <summary><c>kf run</c> over the input as it is.</summary>
    public int Rerun(params string[] options) => Kf(["run", "--model", Model, "--input", Input, "--output", Output, "--device", "cpu", "--threads", "1", .. options]);

    public int Kf(params string[] arguments) => Kf(arguments, "", CancellationToken.None);

    public int Kf(string[] arguments, string standardInput, CancellationToken stop)
    {
        using var input = new MemoryStream(Encoding.UTF8.GetBytes(standardInput));
        using var output = new MemoryStream();
        using var error = new StringWriter();
        int code = Commands.Run(arguments, new Terminal(input, output, error), stop);
        (StandardOutput, Error) = (Encoding.UTF8.GetString(output.ToArray()), error.ToString());
        return code;
    }

    public void Dispose()
    {
        _model.Dispose();
        Directory.Delete(_files, recursive: true);
    }
}
