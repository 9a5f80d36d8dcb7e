using BenchmarkDotNet.Running;
using KernelForge.Bench;

BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args, new BenchConfig());
