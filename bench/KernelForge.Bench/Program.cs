using BenchmarkDotNet.Running;
using KernelForge.Bench;

switch (args)
{
    case ["session", .. string[] options]: return PeerSession.Run(options, Console.In, Console.Out);
    case ["weights", string model, string output, string format]: return PeerWeights.Write(model, output, format);
}

// CUDA benchmarks are there where a device is; where none is, a line says why.
bool hasCuda = FirstCuda.WhyMissing is null;
if (!hasCuda) Console.WriteLine($"No CUDA benchmarks: {FirstCuda.WhyMissing}");
Type[] benchmarks = [.. typeof(Program).Assembly.GetTypes().Where(type =>
    !type.IsAbstract && type.Name.EndsWith("Bench", StringComparison.Ordinal) && (hasCuda || !type.IsAssignableTo(typeof(CudaOperatorBench))))];
BenchmarkSwitcher.FromTypes(benchmarks).Run(args, new BenchConfig());
return 0;
