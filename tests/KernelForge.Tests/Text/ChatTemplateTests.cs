using System.Text.Json;
using KernelForge.Inference;

namespace KernelForge.Tests;

public class ChatTemplateTests
{
    private static readonly Dictionary<string, string> SpecialTokens = new() { ["bos_token"] = "<s>", ["eos_token"] = "</s>" };

    private static readonly ChatMessage[] Conversation =
        [new("system", "Be brief."), new("user", " Hi "), new("assistant", "Hello."), new("user", "Bye")];

    [Fact]
    public void Render_Llama2_PutsTheSystemMessageIntoTheFirstTurn() => Assert.Equal(
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n Hi [/INST] Hello. </s><s>[INST] Bye [/INST]",
        Render(ChatTemplateTexts.Llama2, Conversation));

    [Fact]
    public void Render_Llama3_WrapsEveryTurnInHeaders()
    {
        const string Turns = "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
            + "<|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>";
        Assert.Equal(Turns, Render(ChatTemplateTexts.Llama3, Conversation, addGenerationPrompt: false));
        Assert.Equal(Turns + "<|start_header_id|>assistant<|end_header_id|>\n\n", Render(ChatTemplateTexts.Llama3, Conversation));
    }

    [Fact]
    public void Render_Llama31_WritesTheDateAndTools()
    {
        JsonElement tool = JsonDocument.Parse("""{"name":"f","size":[1,2.5]}""").RootElement;
        string expected = "<s><|start_header_id|>system<|end_header_id|>\n\nToday Date: 05 Jul 2024\n\n"
            + "{\n    \"name\": \"f\",\n    \"size\": [\n        1,\n        2.5\n    ]\n}\n\nBe brief.<|eot_id|>";

        Assert.Equal(expected, Render(ChatTemplateTexts.Llama31Header, Conversation, variables: new() { ["tools"] = new[] { tool } }));
    }

    [Fact]
    public void Render_Mistral_AlternatesInstructions()
    {
        Assert.Equal("<s>[INST]  Hi  [/INST]Hello.</s>[INST] Bye [/INST]", Render(ChatTemplateTexts.Mistral, Conversation[1..]));
        var error = Assert.Throws<ChatTemplateException>(() => Render(ChatTemplateTexts.Mistral, Conversation));
        Assert.Equal("Conversation roles must alternate user/assistant/user/assistant/...", error.Message);
    }

    [Fact]
    public void Render_Qwen2_AddsItsSystemMessageWhereThereIsNone()
    {
        Assert.Equal(
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
            Render(ChatTemplateTexts.Qwen2, Conversation[3..]));
        Assert.StartsWith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n", Render(ChatTemplateTexts.Qwen2, Conversation), StringComparison.Ordinal);
    }

    [Fact]
    public void Render_Qwen3_DropsThoughtsBeforeTheLastQuestion()
    {
        ChatMessage[] messages = [new("user", "1?"), new("assistant", "<think>\nhm\n</think>\n\none"), new("user", "2?")];

        Assert.Equal(
            "<|im_start|>user\n1?<|im_end|>\n<|im_start|>assistant\none<|im_end|>\n<|im_start|>user\n2?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
            Render(ChatTemplateTexts.Qwen3, messages, variables: new() { ["enable_thinking"] = false }));
        Assert.Equal( // the last answer keeps its thoughts
            "<|im_start|>user\n1?<|im_end|>\n<|im_start|>assistant\n<think>\nhm\n</think>\n\none<|im_end|>\n",
            Render(ChatTemplateTexts.Qwen3, messages[..2], addGenerationPrompt: false));
    }

    [Theory]
    [InlineData("a\n{% if true %}\nb\n{% endif %}\nc\n", "a\nb\nc")] // trim_blocks; the last line break goes
    [InlineData("a\n  {% if true %}b{% endif %}", "a\nb")] // lstrip_blocks
    [InlineData("a  {% if true %}b{% endif %}", "a  b")] // but only at the start of a line
    [InlineData("a\n  {%+ if true +%}\nb{% endif %}", "a\n  \nb")]
    [InlineData("a \n {%- if true -%} \n b{% endif %}", "ab")]
    [InlineData("a\n  {{ 'b' }}\nc", "a\n  b\nc")] // expressions keep what is around them
    [InlineData("a {{- 'b' -}} c", "abc")]
    [InlineData("a\n {# note #}\nb", "a\nb")]
    [InlineData("a {#- note -#} b", "ab")]
    [InlineData("a\r\n{{ 1 }}\r\n", "a\n1")]
    [InlineData("a { b } {c", "a { b } {c")]
    public void Render_WhiteSpaceControl_FollowsHuggingFace(string template, string expected) => Assert.Equal(expected, Render(template, []));

    [Theory]
    [InlineData("'a' ~ 1 + 2 ~ 'b'", "a12b")] // ~ binds tighter than +, which then joins two strings
    [InlineData("1 + 2 * 3 - 4", "3")]
    [InlineData("-7 // 2 ~ ' ' ~ -7 % 3", "-4 2")] // Python rounds down
    [InlineData("7 / 2", "3.5")]
    [InlineData("1 < 2 < 3 and not 2 in [1, 3]", "True")]
    [InlineData("'x' if false", "")]
    [InlineData("1 if none else 2 if false else 3", "3")]
    [InlineData("'' or 'b'", "b")]
    [InlineData("'abcdef'[1:-1] ~ 'abc'[::-1] ~ 'abc'[-1]", "bcdecbac")]
    [InlineData("[1, 2, 3, 4][1::2]", "[2, 4]")]
    [InlineData("{'a': [none, true, 1.0, 'x']}", "{'a': [None, True, 1.0, 'x']}")]
    [InlineData("[{'r': 'u', 'c': 1}, {'r': 'a'}] | selectattr('r', 'equalto', 'u') | map(attribute='c') | list", "[1]")]
    [InlineData("['b', 'c'] | join('-') | upper | replace('-', '+') | length", "3")]
    [InlineData("nothing | default('d') ~ ('' | default('e', true)) ~ nothing", "de")]
    [InlineData("' a b '.split() | length ~ 'a,b,c'.split(',', 1)[1]", "2b,c")]
    [InlineData("'xxaxx'.strip('x') ~ ' b '.lstrip() ~ '|' ~ ' c '.rstrip()", "ab | c")]
    [InlineData("'abc'.startswith('ab') and 'abc'.endswith(('x', 'bc'))", "True")]
    [InlineData("{'k': 'é\\n\"'} | tojson", "{\"k\": \"é\\n\\\"\"}")]
    [InlineData("x is defined or none is none and 'a' is string and 3 is not odd", "False")]
    [InlineData("'\\u00e9\\x41\\t|'", "éA\t|")]
    public void Render_Expression_IsPythons(string expression, string expected) =>
        Assert.Equal(expected, Render("{{ " + expression + " }}", []));

    [Theory]
    [InlineData("{% for i in range(6) if i % 2 %}{{ loop.index0 }}:{{ i }}{% if not loop.last %},{% endif %}{% endfor %}", "0:1,1:3,2:5")]
    [InlineData("{% for i in [] %}x{% else %}none{% endfor %}", "none")]
    [InlineData("{% for i in range(9) %}{% if i == 1 %}{% continue %}{% elif i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}", "02")]
    [InlineData("{% for i in 'abc' %}{{ loop.previtem }}{{ i }}{{ loop.nextitem }}|{% endfor %}", "ab|abc|bc|")]
    [InlineData("{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}{{ v }}{% endfor %}", "a1b2")]
    [InlineData("{% set x = 1 %}{% for i in [2] %}{% set x = i %}{% endfor %}{{ x }}", "1")] // a loop body keeps its variables
    [InlineData("{% set n = namespace(x=1) %}{% for i in [2] %}{% set n.x = i %}{% endfor %}{{ n.x }}", "2")]
    [InlineData("{% set x %}a{{ 1 }}{% endset %}{{ x | length }}", "2")]
    [InlineData("{% macro m(a, b='B') %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m('x', b=2) }}", "1Bx2")]
    [InlineData("{% generation %}g{% endgeneration %}", "g")]
    public void Render_Statement_BehavesLikeJinja(string template, string expected) => Assert.Equal(expected, Render(template, []));

    [Theory]
    [InlineData("{% include 'x' %}", "the statement 'include'", "macro")]
    [InlineData("\n{{ x | pprint }}", "line 2: the filter 'pprint'", "tojson")]
    [InlineData("{{ x is callable }}", "the test 'callable'", "divisibleby")]
    [InlineData("{{ 'a'.zfill(3) }}", "zfill()", "startswith")]
    [InlineData("{{ lipsum() }}", "'lipsum'", "strftime_now")]
    [InlineData("{{ strftime_now('%Q') }}", "%Q", "Y y m d")]
    [InlineData("{% set x = {} %}{{ x.y.z }}", "'y'", "undefined")]
    [InlineData("{{ 'a' + none }}", "none", "'a'")]
    [InlineData("{% if true %}", "end", "endif")]
    [InlineData("{% endfor %}", "'endfor'", "line 1")]
    [InlineData("{{ 'a }}", "closing", "line 1")]
    [InlineData("{{ a b }}", "'b'", "end")]
    public void Render_UnsupportedOrBroken_NamesItAndWhatIsSupported(string template, string found, string supported)
    {
        var error = Assert.Throws<ChatTemplateException>(() => Render(template, []));
        Assert.Contains(found, error.Message, StringComparison.Ordinal);
        Assert.Contains(supported, error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"chat_template":"config {{ bos_token }}","bos_token":{"content":"<b>"}}""", null, "default", "config <b>")]
    [InlineData("""{"chat_template":[{"name":"tool_use","template":"tools"},{"name":"default","template":"plain"}]}""", null, "default", "plain")]
    [InlineData("""{"chat_template":[{"name":"tool_use","template":"tools"}]}""", null, "tool_use", "tools")]
    [InlineData("""{"chat_template":"config","bos_token":"<b>"}""", "file {{ bos_token }}", "default", "file <b>")]
    [InlineData("""{}""", null, "default", null)]
    [InlineData(null, null, "default", null)]
    public void Load_Folder_FindsTheTemplate(string? config, string? file, string name, string? expected)
    {
        string folder = Directory.CreateTempSubdirectory("kf-text-").FullName;
        try
        {
            if (config is not null) File.WriteAllText(Path.Combine(folder, "tokenizer_config.json"), config);
            if (file is not null) File.WriteAllText(Path.Combine(folder, "chat_template.jinja"), file);

            Assert.Equal(expected, ChatTemplate.Load(folder, name)?.Render([]));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static string Render(
        string template, ChatMessage[] messages, bool addGenerationPrompt = true, Dictionary<string, object?>? variables = null) =>
        new ChatTemplate(template, SpecialTokens, new FixedClock()).Render(messages, addGenerationPrompt, variables);

    private sealed class FixedClock : TimeProvider
    {
        public override TimeZoneInfo LocalTimeZone => TimeZoneInfo.Utc;

        public override DateTimeOffset GetUtcNow() => new(2024, 7, 5, 12, 0, 0, TimeSpan.Zero);
    }
}
