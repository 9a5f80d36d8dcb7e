namespace KernelForge.Inference;

/// <summary>
/// Waiting sequences in order: preempted ones first, then by key. One pass at a time walks from the front and takes or defers
/// each sequence it meets; deferred ones keep their places. A pass costs what it visits.
/// </summary>
internal sealed class WaitingQueue
{
    private static readonly Comparer<Sequence> ByPlace = Comparer<Sequence>.Create(Compare);

    private Sequence?[] _items = new Sequence?[16];
    private int _head, _tail, _cursor, _deferred;
    private bool _unsorted;

    public void Add(Sequence sequence)
    {
        if (_tail == _items.Length) MakeRoom();
        if (_tail > _head && Compare(sequence, _items[_tail - 1]!) < 0) _unsorted = true;
        _items[_tail++] = sequence;
    }

    /// <summary>Puts a preempted sequence before all that were not preempted.</summary>
    public void AddPreempted(Sequence sequence)
    {
        if (_head == 0) MakeRoom();
        int place = _head--;
        for (; place < _tail && Compare(_items[place]!, sequence) < 0; place++) _items[place - 1] = _items[place];
        _items[place - 1] = sequence;
    }

    /// <summary>Gives all waiting sequences new keys. Costs as much as there are of them.</summary>
    public void Rekey(Func<Sequence, long> keyOf)
    {
        Sequence? last = null;
        foreach (Sequence? sequence in _items.AsSpan(_head, _tail - _head))
        {
            if (sequence!.Status == SequenceStatus.Waiting) sequence.QueueKey = keyOf(sequence);
            _unsorted |= last is not null && Compare(sequence, last) < 0;
            last = sequence;
        }
    }

    public void StartPass()
    {
        if (_unsorted) Array.Sort(_items, _head, _tail - _head, ByPlace!);
        _unsorted = false;
        _cursor = _head;
        _deferred = 0;
    }

    /// <summary>The sequence under the cursor; sequences that no longer wait are dropped.</summary>
    public bool TryPeek(out Sequence sequence)
    {
        while (_cursor < _tail && _items[_cursor]!.Status != SequenceStatus.Waiting) _items[_cursor++] = null;
        sequence = _cursor < _tail ? _items[_cursor]! : null!;
        return _cursor < _tail;
    }

    /// <summary>Removes the sequence under the cursor and moves on.</summary>
    public void Take() => _items[_cursor++] = null;

    /// <summary>Leaves the sequence under the cursor where it is and moves on.</summary>
    public void Defer()
    {
        Sequence sequence = _items[_cursor]!;
        _items[_cursor++] = null;
        _items[_head + _deferred++] = sequence;
    }

    /// <summary>Closes the gaps that taken sequences left before the cursor.</summary>
    public void EndPass()
    {
        Array.Copy(_items, _head, _items, _cursor - _deferred, _deferred);
        Array.Clear(_items, _head, _cursor - _deferred - _head);
        _head = _cursor - _deferred;
    }

    /// <summary>Negative when <paramref name="a"/> is before <paramref name="b"/>.</summary>
    public static int Compare(Sequence a, Sequence b)
    {
        int byPreemption = b.Preempted.CompareTo(a.Preempted);
        int byKey = byPreemption != 0 ? byPreemption : a.QueueKey.CompareTo(b.QueueKey);
        return byKey != 0 ? byKey : a.Id.CompareTo(b.Id);
    }

    private void MakeRoom()
    {
        int count = _tail - _head, gap = Math.Max(8, count / 8);
        var items = new Sequence?[gap + Math.Max(16, 2 * count)];
        Array.Copy(_items, _head, items, gap, count);
        (_items, _head, _tail) = (items, gap, gap + count);
    }
}
