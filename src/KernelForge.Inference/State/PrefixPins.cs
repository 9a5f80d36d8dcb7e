namespace KernelForge.Inference;

/// <summary>
/// Blocks of ended turns, held for the next turn of their session: as references to ready blocks of the prefix tree, a path from its root for each. A pin ends
/// when its time is over, when the next turn starts, or when memory is short, the least worth first.
/// </summary>
internal sealed class PrefixPins(PrefixTree tree, IKeepAlive? policy)
{
    private const int MostEnds = 4096; // turns whose next one is still thought of

    private readonly Dictionary<string, Pin> _pins = [];
    private readonly PriorityQueue<Pin, TimeSpan> _byEnd = new();
    private readonly Dictionary<string, (TimeSpan Time, string TaskClass)> _ends = [];
    private readonly Queue<(string Session, TimeSpan Time)> _latestEnds = new();

    public int Count => _pins.Count;

    /// <summary>Turns that came while their pin was there.</summary>
    public long Resumed { get; private set; }

    /// <summary>Holds what is computed of an ended sequence that still has its blocks, as long as its request or the policy says.</summary>
    public void Keep(Sequence sequence, in EndedTurn turn, TimeSpan now)
    {
        Request request = sequence.Request;
        End(request.Session);
        NoteEnd(request, now);
        TimeSpan keepFor = request.KeepFor ?? policy?.KeepFor(turn) ?? TimeSpan.Zero;
        if (keepFor <= TimeSpan.Zero || sequence.TreeBlocks == 0) return;

        var pin = new Pin(request.Session, sequence.Table.Blocks[..sequence.TreeBlocks].ToArray(), turn, now, keepFor);
        foreach (int block in pin.Blocks) tree.Acquire(block);
        _pins.Add(request.Session, pin);
        _byEnd.Enqueue(pin, now + keepFor);
    }

    /// <summary>The next turn of a session waits: its pin, if there is one, does not run out before it starts.</summary>
    public void Claim(string session, TimeSpan now)
    {
        if (_ends.Remove(session, out (TimeSpan Time, string TaskClass) end)) policy?.Resumed(end.TaskClass, now - end.Time);
        if (!_pins.TryGetValue(session, out Pin? pin) || pin.IsClaimed) return;
        pin.IsClaimed = true;
        Resumed++;
    }

    /// <summary>Gives the blocks of a session back, if it has any.</summary>
    public void End(string session)
    {
        if (!_pins.Remove(session, out Pin? pin)) return;
        pin.HasEnded = true;
        for (int i = pin.Blocks.Length - 1; i >= 0; i--) tree.Release(pin.Blocks[i]);
    }

    /// <summary>Ends the pins whose time is over; false when there are none.</summary>
    public bool TryEndUntil(TimeSpan now)
    {
        int before = Count;
        while (_byEnd.TryPeek(out Pin? pin, out TimeSpan time) && (time <= now || pin.HasEnded))
        {
            _byEnd.Dequeue();
            if (!pin.HasEnded && !pin.IsClaimed) End(pin.Session);
        }
        return Count < before;
    }

    /// <summary>Ends the pin that is worth least; one whose next turn waits goes last. False when there is none.</summary>
    public bool TryEndLeast(TimeSpan now)
    {
        Pin? least = null;
        double leastWorth = double.PositiveInfinity;
        foreach (Pin pin in _pins.Values)
        {
            double worth = pin.IsClaimed ? double.MaxValue : WorthOf(pin, now);
            if (least is not null && !(worth < leastWorth)) continue;
            (least, leastWorth) = (pin, worth);
        }
        if (least is not null) End(least.Session);
        return least is not null;
    }

    /// <summary>Ends all pins.</summary>
    public void EndAll()
    {
        foreach (string session in _pins.Keys) End(session);
    }

    /// <summary>Pins that hold the block.</summary>
    public int HoldersOf(int block) => _pins.Values.Count(pin => pin.Blocks.Contains(block));

    /// <summary>Without a policy: what computing the tokens again takes, less as the time runs out.</summary>
    private double WorthOf(Pin pin, TimeSpan now)
    {
        TimeSpan waited = now - pin.Beginning;
        return policy?.WorthOf(pin.Turn, waited, pin.KeepFor) ?? pin.Turn.Tokens * (1 - waited / pin.KeepFor);
    }

    private void NoteEnd(Request request, TimeSpan now)
    {
        _ends[request.Session] = (now, request.TaskClass);
        _latestEnds.Enqueue((request.Session, now));
        if (_latestEnds.Count <= MostEnds) return;
        (string session, TimeSpan time) = _latestEnds.Dequeue();
        if (_ends.TryGetValue(session, out (TimeSpan Time, string TaskClass) end) && end.Time == time) _ends.Remove(session);
    }

    private sealed class Pin(string session, int[] blocks, EndedTurn turn, TimeSpan beginning, TimeSpan keepFor)
    {
        public string Session => session;

        public int[] Blocks => blocks;

        public EndedTurn Turn => turn;

        public TimeSpan Beginning => beginning;

        public TimeSpan KeepFor => keepFor;

        public bool IsClaimed { get; set; }

        public bool HasEnded { get; set; }
    }
}
