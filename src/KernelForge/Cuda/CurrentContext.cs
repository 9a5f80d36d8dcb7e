namespace KernelForge;

/// <summary>
/// Keeps a device's context current on this thread until it is disposed, and then puts back the context that the caller had. When it is current already, as on an engine's own
/// thread, this costs one cheap call.
/// </summary>
public readonly unsafe ref struct CurrentContext
{
    private readonly ICudaDriver? _driver;
    private readonly nint _former;

    internal CurrentContext(ICudaDriver driver, nint context)
    {
        nint former;
        if (driver.CtxGetCurrent(&former) == CUresult.Success && former == context) return;
        driver.CtxSetCurrent(context);
        if (former == 0) return;
        _driver = driver;
        _former = former;
    }

    /// <summary>Puts the caller's context back.</summary>
    public void Dispose() => _driver?.CtxSetCurrent(_former);
}
