namespace KernelForge.Tests;

/// <summary>The devices that a test class has opened, as a class fixture. When the class is done none of its buffers may be left.</summary>
public sealed class OpenDevices : IDisposable
{
    private readonly Dictionary<(string Name, CudaDeviceOptions? Options), Device> _devices = [];

    /// <summary>A device that the tests of the class share; see <see cref="Devices"/> for names, null for the usual options.</summary>
    public Device Open(string name, CudaDeviceOptions? options = null)
    {
        lock (_devices)
        {
            if (!_devices.TryGetValue((name, options), out Device? device)) _devices.Add((name, options), device = Devices.OpenAlone(name, options));
            return device;
        }
    }

    public void Dispose()
    {
        string[] left = [.. _devices.Where(opened => opened.Value.AllocatedBytes != 0).Select(opened => $"{opened.Key.Name}: {opened.Value.AllocatedBytes} bytes")];
        foreach (Device device in _devices.Values) device.Dispose();
        Assert.Empty(left);
    }
}
