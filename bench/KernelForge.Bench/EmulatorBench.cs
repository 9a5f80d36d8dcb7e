using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Running;

namespace KernelForge.Bench;

/// <summary>
/// How fast the emulator is: a tensor-core product, an attention and a row operator, one launch each, with one thread and with one per core. The library is the one that
/// KERNELFORGE_CUDA_DRIVER names.
/// </summary>
[InvocationCount(1), IterationCount(5)]
public unsafe class EmulatorBench
{
    private const int Size = 512, Heads = 16, HeadDim = 64, Tokens = 512, NormRows = 512, NormColumns = 2048;

    private Device _device = null!;
    private Operands _operands = null!;
    private nint _library;
    private DeviceMatrix _x, _weights, _product, _rows, _rowWeights, _norms;
    private AttentionOperands _attention = null!;

    /// <summary>Thread instructions of a launch, by method.</summary>
    internal static Dictionary<string, long> Instructions { get; } = [];

    /// <summary>Floating-point operations of a launch, by method; attention is causal.</summary>
    internal static Dictionary<string, double> Flops { get; } = new()
    {
        [nameof(MatMul)] = 2.0 * Size * Size * Size,
        [nameof(Attention)] = 4.0 * Heads * HeadDim * Tokens * (Tokens + 1) / 2,
    };

    [Params(1, 2)]
    public int Threads { get; set; }

    /// <summary>Whether races and unwritten memory are looked for, as in tests.</summary>
    [Params(true, false)]
    public bool Checks { get; set; }

    [GlobalSetup]
    public void Open()
    {
        string path = Environment.GetEnvironmentVariable("KERNELFORGE_CUDA_DRIVER")
            ?? throw new InvalidOperationException("KERNELFORGE_CUDA_DRIVER names no library; ./build.sh emulator-path prints the emulator's");
        _library = NativeLibrary.Load(path);
        _device = Device.OpenCuda(0, new CudaDeviceOptions { DriverLibrary = path });
        Set("threads", Threads.ToString(CultureInfo.InvariantCulture));
        Set("checks", Checks ? "1" : "0");
        _operands = new Operands(_device);
        Allocate();
        foreach ((string name, Action launch) in ((string, Action)[])[(nameof(MatMul), MatMul), (nameof(Attention), Attention), (nameof(RmsNorm), RmsNorm)])
            Instructions[name] = Count(launch);
    }

    [GlobalCleanup]
    public void Close()
    {
        _operands.Dispose();
        _device.Dispose();
    }

    /// <summary>512 x 512 x 512.</summary>
    [Benchmark]
    public void MatMul()
    {
        _device.Operators.MatMul(_x, _weights, _product);
        _device.Synchronize();
    }

    /// <summary>512 tokens, 16 heads of 64, causal.</summary>
    [Benchmark]
    public void Attention()
    {
        _attention.Attend(_device.Operators);
        _device.Synchronize();
    }

    /// <summary>512 rows of 2,048: scalar code.</summary>
    [Benchmark]
    public void RmsNorm()
    {
        _device.Operators.RmsNorm(_rows, _rowWeights, 1e-5f, _norms);
        _device.Synchronize();
    }

    private void Allocate()
    {
        DeviceMatrix Random(int rows, int columns) => _operands.Random(DType.BF16, rows, columns);
        (_x, _weights, _product) = (Random(Size, Size), Random(Size, Size), Random(Size, Size));
        _attention = new AttentionOperands(_operands, _device.Operators, new AttentionShape(1, Tokens, 0, Heads, Heads, HeadDim), DType.BF16);
        (_rows, _rowWeights, _norms) = (Random(NormRows, NormColumns), Random(1, NormColumns), Random(NormRows, NormColumns));
    }

    private long Count(Action launch)
    {
        Set("count", "1");
        ((delegate* unmanaged<void>)NativeLibrary.GetExport(_library, "kfemu_reset_counters"))();
        launch();
        Set("count", "0");
        var read = (delegate* unmanaged<byte*, int, int>)NativeLibrary.GetExport(_library, "kfemu_counters_json");
        byte[] text = new byte[read(null, 0) + 1];
        fixed (byte* start = text) _ = read(start, text.Length);
        using JsonDocument counters = JsonDocument.Parse(text.AsMemory(0, text.Length - 1));
        return counters.RootElement.EnumerateObject().Sum(kernel => kernel.Value.GetProperty("thread_instructions").GetInt64());
    }

    private void Set(string key, string value)
    {
        var set = (delegate* unmanaged<byte*, byte*, int>)NativeLibrary.GetExport(_library, "kfemu_set");
        fixed (byte* keyText = Encoding.UTF8.GetBytes(key + '\0'), valueText = Encoding.UTF8.GetBytes(value + '\0'))
            if (set(keyText, valueText) != 0) throw new InvalidOperationException($"the emulator has no setting {key}={value}");
    }
}

/// <summary>A rate of an <see cref="EmulatorBench"/>.</summary>
internal sealed class EmulatorColumn(string name, string legend, Func<string, double?> work) : MedianColumn(name, legend)
{
    public static IEnumerable<EmulatorColumn> All { get; } =
    [
        new("Emulated GFLOP/s", "10^9 floating-point operations of the emulated kernel per second", method =>
            EmulatorBench.Flops.TryGetValue(method, out double flops) ? flops / 1e9 : null),
        new("Minstr/s", "10^6 emulated instructions of threads per second", method => EmulatorBench.Instructions.GetValueOrDefault(method) / 1e6),
    ];

    protected override bool Concerns(BenchmarkCase benchmarkCase) => benchmarkCase.Descriptor.Type == typeof(EmulatorBench);

    protected override string Value(BenchmarkCase benchmarkCase, double median) =>
        work(benchmarkCase.Descriptor.WorkloadMethod.Name) is double amount ? (amount / (median / 1e9)).ToString("F1", CultureInfo.InvariantCulture) : "-";
}
