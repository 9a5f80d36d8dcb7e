using Xunit.Abstractions;
using Xunit.Sdk;

namespace KernelForge.GpuTests;

/// <summary>Counts what the tests report and writes each failure down at once.</summary>
internal sealed class Results(TextWriter output) : LongLivedMarshalByRefObject, IMessageSink, IDisposable
{
    private readonly ManualResetEventSlim _finished = new();
    private int _passed, _failed, _skipped;

    public int Passed => _passed;

    public int Failed => _failed;

    public int Skipped => _skipped;

    public void Wait() => _finished.Wait();

    public bool OnMessage(IMessageSinkMessage message)
    {
        switch (message)
        {
            case ITestPassed: Interlocked.Increment(ref _passed); break;
            case ITestSkipped: Interlocked.Increment(ref _skipped); break;
            case ITestFailed failed: Report(failed.Test.DisplayName, failed); break;
            case ITestAssemblyFinished: _finished.Set(); break;
            case IFailureInformation error: Report("outside of a test", error); break;
        }
        return true;
    }

    public void Dispose() => _finished.Dispose();

    private void Report(string name, IFailureInformation failure)
    {
        Interlocked.Increment(ref _failed);
        lock (output) output.WriteLine($"FAILED {name}{Environment.NewLine}{string.Join(Environment.NewLine, failure.Messages)}{Environment.NewLine}{failure.StackTraces[0]}");
    }
}

/// <summary>Gathers the tests of an assembly.</summary>
internal sealed class FoundTests : LongLivedMarshalByRefObject, IMessageSink, IDisposable
{
    private readonly ManualResetEventSlim _finished = new();
    private readonly List<ITestCase> _tests = [];

    public IReadOnlyList<ITestCase> Wait()
    {
        _finished.Wait();
        return _tests;
    }

    public bool OnMessage(IMessageSinkMessage message)
    {
        if (message is ITestCaseDiscoveryMessage found) _tests.Add(found.TestCase);
        if (message is IDiscoveryCompleteMessage) _finished.Set();
        return true;
    }

    public void Dispose() => _finished.Dispose();
}

/// <summary>xunit's defaults, but a theory is one test per row, so that rows can be chosen.</summary>
internal sealed class RunOptions : LongLivedMarshalByRefObject, ITestFrameworkDiscoveryOptions, ITestFrameworkExecutionOptions
{
    private readonly Dictionary<string, object?> _values = new() { ["xunit.discovery.PreEnumerateTheories"] = true };

    public TValue? GetValue<TValue>(string name) => _values.TryGetValue(name, out object? value) ? (TValue?)value : default;

    public void SetValue<TValue>(string name, TValue value) => _values[name] = value;
}
