using Xunit.Abstractions;
using Xunit.Sdk;

namespace KernelForge.Tests.Cuda;

/// <summary>The device that a class of <see cref="DriverConformanceTests"/> runs on, one of <see cref="Devices.Names"/> or another name that is always there.</summary>
[AttributeUsage(AttributeTargets.Class)]
public sealed class ProviderAttribute(string deviceName) : Attribute
{
    public string DeviceName { get; } = deviceName;
}

/// <summary>A test that is skipped where the device of its class's <see cref="ProviderAttribute"/> is missing.</summary>
[XunitTestCaseDiscoverer("KernelForge.Tests.Cuda.ProviderFactDiscoverer", "KernelForge.Tests")]
[AttributeUsage(AttributeTargets.Method)]
public sealed class ProviderFactAttribute : FactAttribute;

/// <summary>Makes the cases of a <see cref="ProviderFactAttribute"/>; xunit finds it by name.</summary>
public sealed class ProviderFactDiscoverer(IMessageSink messages) : FactDiscoverer(messages)
{
    protected override IXunitTestCase CreateTestCase(ITestFrameworkDiscoveryOptions discoveryOptions, ITestMethod testMethod, IAttributeInfo factAttribute)
    {
        IAttributeInfo? provider = testMethod.TestClass.Class.GetCustomAttributes(typeof(ProviderAttribute)).SingleOrDefault();
        string? reason = provider is null ? "the class has no [Provider]" : Devices.SkipReason(provider.GetNamedArgument<string>(nameof(ProviderAttribute.DeviceName)));
        return reason is null ? base.CreateTestCase(discoveryOptions, testMethod, factAttribute) : new SkippedCase(
            DiagnosticMessageSink, discoveryOptions.MethodDisplayOrDefault(), discoveryOptions.MethodDisplayOptionsOrDefault(), testMethod, reason);
    }
}

/// <summary>A case that says why it does not run.</summary>
public sealed class SkippedCase : XunitTestCase
{
    private string _reason = "";

    /// <summary>For xunit, which reads it from a serialised form.</summary>
    [Obsolete("called by xunit")]
    public SkippedCase()
    {
    }

    public SkippedCase(IMessageSink messages, TestMethodDisplay display, TestMethodDisplayOptions options, ITestMethod method, string reason)
        : base(messages, display, options, method) => _reason = reason;

    protected override string GetSkipReason(IAttributeInfo factAttribute) => _reason;

    public override void Serialize(IXunitSerializationInfo data)
    {
        base.Serialize(data);
        data.AddValue(nameof(_reason), _reason);
    }

    public override void Deserialize(IXunitSerializationInfo data)
    {
        _reason = data.GetValue<string>(nameof(_reason));
        base.Deserialize(data);
    }
}
