using System.Text.Json.Nodes;

namespace KernelForge.Tests;

public class CheckpointTests
{
    [Fact]
    public void Load_ThreeShards_GivesTheTensorsOfOneFile()
    {
        using TinyModel one = TinyModel.Create("llama"), three = TinyModel.Create("llama", shards: 3);
        using var single = new Checkpoint(one.Folder);
        using var sharded = new Checkpoint(three.Folder);

        Assert.Equal(single.Names.Order(), sharded.Names.Order());
        Assert.Equal(single.SizeInBytes, sharded.SizeInBytes);
        Assert.Equal(single.Load(Device.Cpu, "lm_head.weight", 97, 64).ToArray<float>(), sharded.Load(Device.Cpu, "lm_head.weight", 97, 64).ToArray<float>());
    }

    [Fact]
    public void Load_WrongShapeOrName_NamesTensorAndShapes()
    {
        using TinyModel model = TinyModel.Create("llama");
        using var checkpoint = new Checkpoint(model.Folder);

        Assert.Contains("lm_head.weight is [97, 64], config.json asks for [98, 64]",
            Assert.Throws<ModelFormatException>(() => checkpoint.Load(Device.Cpu, "lm_head.weight", 98, 64)).Message, StringComparison.Ordinal);
        Assert.Contains("lm_head.bias is missing",
            Assert.Throws<ModelFormatException>(() => checkpoint.Load(Device.Cpu, "lm_head.bias", 1, 97)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("model-00002-of-00002.safetensors", "does not exist")]
    [InlineData("../elsewhere.safetensors", "outside of its folder")]
    public void Open_IndexNamesAMissingOrForeignFile_SaysSo(string shard, string expected)
    {
        using TinyModel model = TinyModel.Create("llama", shards: 2);
        string index = Path.Combine(model.Folder, "model.safetensors.index.json");
        JsonNode json = JsonNode.Parse(File.ReadAllText(index))!;
        json["weight_map"]!["model.norm.weight"] = shard;
        File.WriteAllText(index, json.ToJsonString());
        File.Delete(Path.Combine(model.Folder, "model-00002-of-00002.safetensors"));

        Assert.Contains(expected, Assert.Throws<ModelFormatException>(() => new Checkpoint(model.Folder)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Open_IndexNamesATensorThatIsNotThere_SaysSo()
    {
        using TinyModel model = TinyModel.Create("llama", shards: 2);
        string index = Path.Combine(model.Folder, "model.safetensors.index.json");
        JsonNode json = JsonNode.Parse(File.ReadAllText(index))!;
        json["weight_map"]!["model.extra.weight"] = "model-00001-of-00002.safetensors";
        File.WriteAllText(index, json.ToJsonString());

        Assert.Contains("model.extra.weight is in model-00001-of-00002.safetensors, which has no such tensor",
            Assert.Throws<ModelFormatException>(() => new Checkpoint(model.Folder)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Open_NoWeights_NamesBothFiles()
    {
        using TinyModel model = TinyModel.Create("llama");
        File.Delete(Path.Combine(model.Folder, "model.safetensors"));

        Assert.Contains("neither model.safetensors nor model.safetensors.index.json",
            Assert.Throws<ModelFormatException>(() => new Checkpoint(model.Folder)).Message, StringComparison.Ordinal);
    }
}
