namespace KernelForge.Tests;

/// <summary>The devices that a test class has opened, as a class fixture. When the class is done none of its buffers may be left.</summary>
public sealed class OpenDevices : IDisposable
{
    private readonly Dictionary<string, Device> _devices = [];

    /// <summary>A device that the tests of the class share; see <see cref="Devices"/> for names.</summary>
    public Device Open(string name)
    {
        lock (_devices)
        {
            if (!_devices.TryGetValue(name, out Device? device)) _devices.Add(name, device = Devices.OpenAlone(name));
            return device;
        }
    }

    public void Dispose()
    {
        string[] left = [.. _devices.Where(opened => opened.Value.AllocatedBytes != 0).Select(opened => $"{opened.Key}: {opened.Value.AllocatedBytes} bytes")];
        foreach (Device device in _devices.Values) device.Dispose();
        Assert.Empty(left);
    }
}
