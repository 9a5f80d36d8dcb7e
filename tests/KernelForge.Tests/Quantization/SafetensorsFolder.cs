using System.Buffers.Binary;
using System.Text;
using System.Text.Json.Nodes;

namespace KernelForge.Tests;

/// <summary>A temporary folder with a checkpoint of given tensors.</summary>
internal sealed class SafetensorsFolder : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kf-tensors-").FullName;

    public SafetensorsFolder(IEnumerable<NamedTensor> tensors)
    {
        Write(Path.Combine(_folder, "model.safetensors"), tensors);
        Checkpoint = new Checkpoint(_folder);
    }

    public Checkpoint Checkpoint { get; }

    public static void Write(string path, IEnumerable<NamedTensor> tensors)
    {
        var header = new JsonObject();
        using var data = new MemoryStream();
        foreach (NamedTensor tensor in tensors)
        {
            long start = data.Length;
            data.Write(tensor.Bytes.Span);
            header[tensor.Name] = new JsonObject
            {
                ["dtype"] = tensor.Type,
                ["shape"] = new JsonArray([.. tensor.Shape.Select(dimension => JsonValue.Create(dimension))]),
                ["data_offsets"] = new JsonArray(start, data.Length),
            };
        }
        byte[] text = Encoding.UTF8.GetBytes(header.ToJsonString()), length = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)text.Length);
        File.WriteAllBytes(path, [.. length, .. text, .. data.ToArray()]);
    }

    public void Dispose()
    {
        Checkpoint.Dispose();
        Directory.Delete(_folder, recursive: true);
    }
}
