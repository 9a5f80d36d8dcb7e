namespace KernelForge.Inference;

/// <summary>
/// Learns seconds = a · x + b · y with a, b ≥ 0 from observations as they come: least squares of the error relative to the seconds observed, as sums that forget
/// half after 35 observations. One that took far longer than expected is an error of at most 1 and hardly moves the fit.
/// </summary>
internal sealed class TwoTermFit
{
    private const double Memory = 0.98;
    private const double Ridge = 1e-4; // relative: decides where x and y are proportional

    private double _xx, _xy, _yy, _x, _y;

    public int Count { get; private set; }

    public void Observe(double seconds, double x, double y)
    {
        if (!(seconds > 0)) return;
        (x, y) = (x / seconds, y / seconds);
        _xx = Memory * _xx + x * x;
        _xy = Memory * _xy + x * y;
        _yy = Memory * _yy + y * y;
        _x = Memory * _x + x;
        _y = Memory * _y + y;
        Count++;
    }

    public (double A, double B) Solve()
    {
        double xx = _xx * (1 + Ridge), yy = _yy * (1 + Ridge), determinant = xx * yy - _xy * _xy;
        double a = _x * yy - _y * _xy, b = _y * xx - _x * _xy;
        if (a <= 0 || determinant <= 0) return (0, _yy > 0 ? _y / _yy : 0);
        if (b <= 0) return (_x / _xx, 0);
        return (a / determinant, b / determinant);
    }
}
