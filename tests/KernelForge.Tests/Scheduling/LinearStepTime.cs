using KernelForge.Inference;

namespace KernelForge.Tests;

/// <summary>A device whose steps take a sum of costs, in seconds.</summary>
internal sealed record LinearStepTime(double Step, double Decode, double Prompt, double DecodeContext, double PromptContext) : IStepTimeModel
{
    public double SecondsOf(in StepLoad load) =>
        Step + Decode * load.Decodes + Prompt * load.PromptTokens + DecodeContext * load.DecodeContext + PromptContext * load.PromptContext;

    public static LinearStepTime Random(Random random) => new(
        random.NextDouble() * 20e-3, random.NextDouble() * 1e-3, random.NextDouble() * 1e-3, random.NextDouble() * 1e-6, random.NextDouble() * 1e-6);

    public static StepLoad RandomLoad(Random random)
    {
        int decodes = random.Next(60), prompt = random.Next(3) == 0 ? 0 : random.Next(1, 500), before = random.Next(4000);
        return new StepLoad(decodes, decodes * (long)random.Next(1, 4000), prompt, prompt * (long)before + prompt * (prompt + 1L) / 2);
    }
}
