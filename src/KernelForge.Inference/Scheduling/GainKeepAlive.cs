namespace KernelForge.Inference;

/// <summary>
/// Keeps the keys and values of a turn as long as that gains most, by the pauses that came before the next turns of its class (Continuum, arXiv:2511.02230).
/// </summary>
/// <remarks>
/// In seconds of the machine's time, with T the pause: <code>Gain(t) = Pr[T ≤ t] · saved − E[min(T, t)] · price</code> where saved is the time to compute the
/// tokens again and to wait for it, and price the share of the memory that they take times the load. It is largest at 0 or at a pause that was seen. A class
/// without pauses takes those of all classes; without any, t is where the price has eaten what is saved: never more than twice as dear as knowing T.
/// </remarks>
/// <param name="time">How long computing takes.</param>
/// <param name="wait">What a turn that finds nothing kept waits for others besides.</param>
/// <param name="longest">Never kept longer; 10 minutes when null.</param>
public sealed class GainKeepAlive(IStepTimeModel time, TimeSpan wait = default, TimeSpan? longest = null) : IKeepAlive
{
    private const int Window = 64, FewestPauses = 4;
    private const string AllClasses = "";

    private readonly Dictionary<string, PauseWindow> _classes = new() { [AllClasses] = new PauseWindow(Window) };
    private readonly TimeSpan _longest = longest ?? TimeSpan.FromMinutes(10);

    /// <inheritdoc/>
    public TimeSpan KeepFor(in EndedTurn turn)
    {
        double price = turn.Share * turn.Load, saved = SavedBy(turn);
        ReadOnlySpan<double> pauses = PausesOf(turn.TaskClass);
        double best = pauses.IsEmpty ? saved / price : BestTime(pauses, saved, price);
        return best < _longest.TotalSeconds ? TimeSpan.FromSeconds(best) : _longest;
    }

    /// <inheritdoc/>
    public double WorthOf(in EndedTurn turn, TimeSpan waited, TimeSpan keepFor)
    {
        double price = turn.Share * turn.Load, saved = SavedBy(turn), from = waited.TotalSeconds, to = keepFor.TotalSeconds;
        ReadOnlySpan<double> pauses = PausesOf(turn.TaskClass);
        if (pauses.IsEmpty) return saved * (1 - from / to);
        return GainOf(pauses, saved, price, from, to);
    }

    /// <inheritdoc/>
    public void Resumed(string taskClass, TimeSpan pause)
    {
        if (taskClass != AllClasses)
        {
            if (!_classes.TryGetValue(taskClass, out PauseWindow? own)) _classes[taskClass] = own = new PauseWindow(Window);
            own.Add(pause.TotalSeconds);
        }
        _classes[AllClasses].Add(pause.TotalSeconds);
    }

    /// <summary>The time that gains most, 0 or one of the pauses (ascending).</summary>
    internal static double BestTime(ReadOnlySpan<double> pauses, double saved, double price)
    {
        double best = 0, bestGain = 0, before = 0;
        for (int i = 0; i < pauses.Length; i++)
        {
            double held = before + (pauses.Length - i) * pauses[i]; // sum of min(T, this pause)
            double gain = (saved * (i + 1) - price * held) / pauses.Length;
            if (gain > bestGain) (best, bestGain) = (pauses[i], gain);
            before += pauses[i];
        }
        return best;
    }

    /// <summary>What keeping from one time to another gains when the next turn has not come before; pauses ascend.</summary>
    internal static double GainOf(ReadOnlySpan<double> pauses, double saved, double price, double from, double to)
    {
        double gain = 0;
        int left = 0;
        foreach (double pause in pauses)
        {
            if (pause <= from) continue;
            left++;
            gain += (pause <= to ? saved : 0) - price * (Math.Min(pause, to) - from);
        }
        return left > 0 ? gain / left : -price * (to - from);
    }

    private double SavedBy(in EndedTurn turn) =>
        time.SecondsOf(new StepLoad(0, 0, turn.Tokens, turn.Tokens * (turn.Tokens + 1L) / 2)) + wait.TotalSeconds;

    private ReadOnlySpan<double> PausesOf(string taskClass)
    {
        ReadOnlySpan<double> own = _classes.TryGetValue(taskClass, out PauseWindow? window) ? window.Ascending : [];
        return own.Length >= FewestPauses ? own : _classes[AllClasses].Ascending;
    }

    /// <summary>The latest pauses of a class, sorted.</summary>
    private sealed class PauseWindow(int size)
    {
        private readonly double[] _latest = new double[size], _ascending = new double[size];
        private int _count, _next;

        public ReadOnlySpan<double> Ascending => _ascending.AsSpan(0, _count);

        public void Add(double seconds)
        {
            _latest[_next] = seconds;
            _next = (_next + 1) % size;
            _count = Math.Min(_count + 1, size);
            _latest.AsSpan(0, _count).CopyTo(_ascending);
            Array.Sort(_ascending, 0, _count);
        }
    }
}
