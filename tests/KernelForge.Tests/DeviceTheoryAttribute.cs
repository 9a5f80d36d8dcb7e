using Xunit.Abstractions;
using Xunit.Sdk;

namespace KernelForge.Tests;

/// <summary>
/// A theory one of whose arguments is a name from <see cref="Devices.Names"/>. A case whose device is missing is skipped with the reason; a case that
/// fails on an emulated device names the emulator's seed.
/// </summary>
[XunitTestCaseDiscoverer("KernelForge.Tests.DeviceTheoryDiscoverer", "KernelForge.Tests")]
[AttributeUsage(AttributeTargets.Method)]
public sealed class DeviceTheoryAttribute : TheoryAttribute;

/// <summary>A test of one device.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class DeviceFactAttribute : FactAttribute
{
    /// <param name="deviceName">One of <see cref="Devices.Names"/>.</param>
    public DeviceFactAttribute(string deviceName) => Skip = Devices.SkipReason(deviceName);
}

/// <summary>Makes the cases of a <see cref="DeviceTheoryAttribute"/>; xunit finds it by name.</summary>
public sealed class DeviceTheoryDiscoverer(IMessageSink messages) : TheoryDiscoverer(messages)
{
    /// <inheritdoc/>
    protected override IEnumerable<IXunitTestCase> CreateTestCasesForDataRow(
        ITestFrameworkDiscoveryOptions discoveryOptions, ITestMethod testMethod, IAttributeInfo theoryAttribute, object[] dataRow)
    {
        string? name = dataRow.OfType<string>().FirstOrDefault(Devices.Has);
        if (name is null) return base.CreateTestCasesForDataRow(discoveryOptions, testMethod, theoryAttribute, dataRow);
        if (Devices.SkipReason(name) is string reason)
            return CreateTestCasesForSkippedDataRow(discoveryOptions, testMethod, theoryAttribute, dataRow, reason);
        return [new DeviceTestCase(
            DiagnosticMessageSink, discoveryOptions.MethodDisplayOrDefault(), discoveryOptions.MethodDisplayOptionsOrDefault(), testMethod, dataRow)];
    }
}

/// <summary>A case of a <see cref="DeviceTheoryAttribute"/>.</summary>
public sealed class DeviceTestCase : XunitTestCase
{
    /// <summary>For xunit, which reads it from a serialised form.</summary>
    [Obsolete("called by xunit")]
    public DeviceTestCase()
    {
    }

    /// <summary>A case with arguments.</summary>
    public DeviceTestCase(IMessageSink messages, TestMethodDisplay display, TestMethodDisplayOptions options, ITestMethod method, object[] arguments)
        : base(messages, display, options, method, arguments)
    {
    }

    /// <inheritdoc/>
    public override Task<RunSummary> RunAsync(
        IMessageSink diagnosticMessageSink, IMessageBus messageBus, object[] constructorArguments, ExceptionAggregator aggregator,
        CancellationTokenSource cancellationTokenSource)
    {
        bool isEmulated = TestMethodArguments.OfType<string>().Any(name => name.StartsWith("emulated-", StringComparison.Ordinal));
        IMessageBus bus = isEmulated ? new SeedNamingBus(messageBus) : messageBus;
        return base.RunAsync(diagnosticMessageSink, bus, constructorArguments, aggregator, cancellationTokenSource);
    }

    private sealed class SeedNamingBus(IMessageBus inner) : IMessageBus
    {
        public bool QueueMessage(IMessageSinkMessage message) => inner.QueueMessage(message is ITestFailed failed ? Named(failed) : message);

        public void Dispose()
        {
        }

        private static TestFailed Named(ITestFailed failed)
        {
            string[] messages = [$"{failed.Messages[0]} (KF_EMULATOR_SEED={Emulator.Seed})", .. failed.Messages[1..]];
            return new TestFailed(
                failed.Test, failed.ExecutionTime, failed.Output, failed.ExceptionTypes, messages, failed.StackTraces, failed.ExceptionParentIndices);
        }
    }
}
