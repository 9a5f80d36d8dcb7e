using System.Text.Json.Nodes;

namespace KernelForge.Tests;

public class QuantizationConfigTests
{
    private const string Group = """{"targets":["Linear"],"weights":{"num_bits":4,"type":"int","symmetric":true,"strategy":"group","group_size":128}}""";

    [Theory]
    [InlineData("""{"quant_method":"gptq","bits":4,"group_size":128,"sym":true,"desc_act":true}""", "w4g128 (gptq)")]
    [InlineData("""{"quant_method":"gptq","bits":8,"group_size":-1,"sym":false,"checkpoint_format":"gptq","pack_dtype":"int32"}""", "w8-asym (gptq)")]
    [InlineData("""{"quant_method":"gptq","bits":4,"group_size":32,"checkpoint_format":"gptq_v2","dynamic":{"-:lm_head":{}},"lm_head":true}""", "w4g32 (gptq_v2)")]
    [InlineData("""{"quant_method":"awq","bits":4,"group_size":64,"zero_point":true,"version":"GEMM","modules_to_not_convert":["lm_head"]}""", "w4g64-asym (awq)")]
    [InlineData($$"""{"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{"group_0":{{Group}} },"ignore":["lm_head"],"kv_cache_scheme":null}""", "w4g128 (compressed-tensors)")]
    [InlineData("""
        {"quant_method":"compressed-tensors","sparsity_config":{"format":"dense"},"transform_config":{},
        "config_groups":{"a":{"format":"pack-quantized","weights":{"num_bits":8,"strategy":"channel","group_size":null,"symmetric":false}}}}
        """, "w8-asym (compressed-tensors)")]
    public void Load_WhatIsSupported_IsNamed(string config, string expected) => Assert.Equal(expected, Load(config).Quantization!.ToString());

    [Theory]
    [InlineData("""{"quant_method":"bitsandbytes"}""", "quant_method bitsandbytes, which is not supported; supported are gptq, awq and compressed-tensors")]
    [InlineData("""{"quant_method":"gptq","bits":3,"group_size":128}""", "bits 3, which is not supported; supported are 4 and 8")]
    [InlineData("""{"quant_method":"gptq","group_size":128}""", "bits missing")]
    [InlineData("""{"quant_method":"gptq","bits":4,"group_size":1024}""", "group_size 1024, which is not supported; supported are 32, 64, 128 and -1 (per channel)")]
    [InlineData("""{"quant_method":"gptq","bits":4,"group_size":0}""", "group_size 0")]
    [InlineData("""{"quant_method":"gptq","bits":4,"group_size":128,"checkpoint_format":"marlin"}""", "checkpoint_format marlin")]
    [InlineData("""{"quant_method":"gptq","bits":4,"group_size":128,"dynamic":{"+:.*layers.1.*":{"bits":8}}}""", "dynamic +:.*layers.1.*")]
    [InlineData("""{"quant_method":"gptq","bits":4,"group_size":128,"pack_dtype":"int16"}""", "pack_dtype int16")]
    [InlineData("""{"quant_method":"awq","bits":4,"group_size":128,"version":"gemv"}""", "version gemv")]
    [InlineData("""{"quant_method":"awq","bits":8,"group_size":128}""", "bits 8, which is not supported; supported are 4")]
    [InlineData("""{"quant_method":"awq","bits":4,"group_size":128,"zero_point":false}""", "zero_point false")]
    [InlineData("""{"quant_method":"compressed-tensors","format":"pack-quantized"}""", "config_groups missing")]
    [InlineData($$"""{"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{"a":{{Group}},"b":{{Group}} } }""", "config_groups 2 groups")]
    [InlineData($$"""{"quant_method":"compressed-tensors","format":"int-quantized","config_groups":{"a":{{Group}} } }""", "format int-quantized")]
    [InlineData($$"""{"quant_method":"compressed-tensors","config_groups":{"a":{{Group}} } }""", "format (no format)")]
    [InlineData($$"""{"quant_method":"compressed-tensors","format":"pack-quantized","kv_cache_scheme":{},"config_groups":{"a":{{Group}} } }""", "kv_cache_scheme set")]
    [InlineData($$"""{"quant_method":"compressed-tensors","format":"pack-quantized","sparsity_config":{"format":"sparse-24-bitmask"},"config_groups":{"a":{{Group}} } }""", "sparsity_config sparse-24-bitmask")]
    [InlineData($$"""{"quant_method":"compressed-tensors","format":"pack-quantized","transform_config":{"a":{} },"config_groups":{"a":{{Group}} } }""", "transform_config set")]
    [InlineData("""{"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{"a":{"input_activations":{},"weights":{} } } }""", "input_activations set")]
    [InlineData("""{"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{"a":{"output_activations":{},"weights":{} } } }""", "output_activations set")]
    [InlineData("""{"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{"a":{} } }""", "weights missing")]
    [InlineData("""{"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{"a":{"weights":{"type":"float"} } } }""", "type float")]
    [InlineData("""{"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{"a":{"weights":{"strategy":"tensor"} } } }""", "strategy tensor")]
    [InlineData("""{"quant_method":"gptq","bits":"four","group_size":128}""", "no valid model configuration")]
    [InlineData("[]", "no valid model configuration")]
    public void Load_WhatIsNot_SaysWhatIs(string config, string complaint) =>
        Assert.Contains(complaint, Assert.Throws<ModelFormatException>(() => Load(config)).Message);

    [Theory, InlineData("w4g128", false), InlineData("w4-asym", true), InlineData("w8", false), InlineData("w8g32-asym", true)]
    public void WriterConfig_ReadsBack(string format, bool hasOrder) => Assert.Equal(
        new QuantizationConfig(QuantizationMethod.CompressedTensors, WeightFormat.Parse(format)),
        Load(CompressedTensorsWriter.Config(WeightFormat.Parse(format), ["lm_head"], hasOrder).ToJsonString()).Quantization);

    private static ModelConfig Load(string quantization)
    {
        using TinyModel model = TinyModel.Create("llama");
        JsonObject json = TinyModel.ConfigOf("llama");
        json["quantization_config"] = JsonNode.Parse(quantization);
        model.WriteConfig(json);
        return model.Config;
    }
}
