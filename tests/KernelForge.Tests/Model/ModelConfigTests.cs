using System.Text.Json.Nodes;

namespace KernelForge.Tests;

public class ModelConfigTests
{
    [Theory]
    [InlineData("llama", 1024, false, false, false, false)]
    [InlineData("llama-biases", 1024, true, true, true, false)]
    [InlineData("mistral", 512, false, false, false, false)] // within its sliding window it is an ordinary model
    [InlineData("qwen2", 1024, true, false, false, false)] // its window of 16 is switched off
    [InlineData("qwen3", 1024, false, false, false, true)]
    public void Load_Family_ReadsWhatDistinguishesIt(string family, int context, bool qkvBias, bool outputBias, bool mlpBias, bool qkNorm)
    {
        using TinyModel model = TinyModel.Create(family);

        ModelConfig config = model.Config;

        Assert.Equal((context, qkvBias, outputBias, mlpBias, qkNorm), (config.MaxContext, config.QkvBias, config.OutputBias, config.MlpBias, config.QkNorm));
        Assert.Equal(family == "qwen3" ? 24 : 16, config.HeadDim);
        Assert.Equal([1], config.EndTokenIds);
    }

    [Fact]
    public void Load_RopeParametersOfNewerFiles_ReadsThetaAndScaling()
    {
        using TinyModel model = TinyModel.Create("llama");
        JsonObject json = TinyModel.ConfigOf("llama");
        json.Remove("rope_theta");
        json["rope_parameters"] = JsonNode.Parse("""{"rope_theta":1000000.0,"rope_type":"linear","factor":4}""");
        model.WriteConfig(json);

        Assert.Equal((1e6, RopeScaling.Linear, 4.0), (model.Config.RopeTheta, model.Config.RopeScaling, model.Config.RopeFactor));
    }

    [Fact]
    public void Load_GenerationConfigNamesMoreEndTokens_TakesBoth()
    {
        using TinyModel model = TinyModel.Create("llama");
        File.WriteAllText(Path.Combine(model.Folder, "generation_config.json"), """{"eos_token_id":[1,5,9]}""");

        Assert.Equal([1, 5, 9], model.Config.EndTokenIds);
    }

    [Fact]
    public void Load_EndTokensOutsideTheVocabulary_AreLeftOut()
    {
        using TinyModel model = TinyModel.Create("llama");
        File.WriteAllText(Path.Combine(model.Folder, "generation_config.json"), """{"eos_token_id":[96,97,-1]}"""); // the vocabulary has 97 ids

        Assert.Equal([1, 96], model.Config.EndTokenIds);
    }

    [Theory]
    [InlineData("architectures", """["GPT2LMHeadModel"]""", "architecture GPT2LMHeadModel is not supported; supported are LlamaForCausalLM")]
    [InlineData("architectures", "null", "architecture (none named) is not supported")]
    [InlineData("hidden_size", "0", "hidden_size is 0, expected a positive number")]
    [InlineData("vocab_size", "null", "vocab_size is missing")]
    [InlineData("hidden_act", "\"gelu\"", "hidden_act gelu is not supported")]
    [InlineData("quantization_config", "{}", "quantised with quant_method")]
    [InlineData("num_key_value_heads", "3", "4 query heads cannot share 3")]
    [InlineData("head_dim", "15", "head_dim is 15")]
    [InlineData("rope_scaling", """{"rope_type":"yarn","factor":4}""", "rope scaling yarn is not supported")]
    [InlineData("rope_scaling", """{"rope_type":"llama3"}""", "rope scaling llama3 needs factor")]
    [InlineData("rope_theta", "0", "rope_theta is 0, expected a positive number")]
    [InlineData("rope_scaling", """{"rope_type":"linear","factor":0}""", "factor is 0, expected a positive number")]
    [InlineData("max_position_embeddings", "1", "a context of 1 tokens, expected 2 or more")]
    [InlineData("sliding_window", "0", "a context of 0 tokens, expected 2 or more")]
    [InlineData("hidden_size", "\"large\"", "no valid model configuration")]
    public void Load_UnsupportedOrBad_SaysWhat(string key, string value, string expected)
    {
        using TinyModel model = TinyModel.Create("llama");
        JsonObject json = TinyModel.ConfigOf("llama");
        json[key] = JsonNode.Parse(value);
        model.WriteConfig(json);

        Assert.Contains(expected, Assert.Throws<ModelFormatException>(() => model.Config).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Load_NoFolderNoConfigOrBrokenJson_SaysWhich()
    {
        using TinyModel model = TinyModel.Create("llama");
        Assert.Contains("does not exist", Assert.Throws<ModelFormatException>(() => ModelConfig.Load(model.Folder + "x")).Message, StringComparison.Ordinal);

        string generation = Path.Combine(model.Folder, "generation_config.json");
        File.WriteAllText(generation, "{");
        Assert.Contains(generation, Assert.Throws<ModelFormatException>(() => model.Config).Message, StringComparison.Ordinal);
        File.Delete(generation);

        File.WriteAllText(Path.Combine(model.Folder, "config.json"), "{");
        Assert.Contains("no valid model configuration", Assert.Throws<ModelFormatException>(() => model.Config).Message, StringComparison.Ordinal);

        File.Delete(Path.Combine(model.Folder, "config.json"));
        Assert.Contains("config.json is missing", Assert.Throws<ModelFormatException>(() => model.Config).Message, StringComparison.Ordinal);
    }
}
