namespace KernelForge.Inference;

/// <summary>
/// Most blocks that sequences will have in any one step, if each grows and leaves as expected (Past-Future scheduler, arXiv:2507.10150). Exact, to the
/// block, for the sequences it is prepared with.
/// </summary>
/// <remarks>
/// Blocks in use only fall when a sequence leaves, so the peak lies in the last step of one of them. Where all grow by a token in every step,
/// with the sequences ordered by their last steps, latest first:
/// <code>peak = max over j of  blocks of 1..j in the last step of number j</code>
/// Sequences that are still computing their prompts begin to grow later, those with drafts grow by several tokens and stay as if they grew by one;
/// both only add steps at which the slope of the sum changes. Rounding up to blocks is exact: sequences that grow alike are counted by the part of
/// a block that they fill. A block that several sequences share is counted for the one that leaves last, so it leaves with it.
/// With n sequences <see cref="Prepare"/> takes O(n (log n + block size)); <see cref="PeakWith(in FutureUse)"/> takes O(log n), and up to O(n) once after an
/// <see cref="Add"/>, which takes O(n): its sums move one place, and that is less than keeping them in a balanced tree up to many thousands.
/// In a step that is nobody else's last, the end of a candidate counts up to one block too many for each of the others, and what candidates before it
/// keep: never too few.
/// </remarks>
/// <param name="blockSize">Slots of a block.</param>
/// <param name="slotsPerStep">Most slots that a sequence gains in a step.</param>
internal sealed class FuturePeak(int blockSize, int slotsPerStep)
{
    private readonly RangeMaximum _use = new(), _slope = new(); // blocks in use; block size times these, and what one sequence has gained by then
    private readonly GrowingBlocks _growing = new(blockSize, slotsPerStep);
    private long[] _ends = [], _switches = [], _scratch = [], _blocks = []; // blocks in use in the steps below
    private int[] _places = [], _steps = [], _alike = []; // where the sums are known; how many grow from the step known before to this one
    private int _first, _count;
    private bool _stale;

    private ReadOnlySpan<int> Steps => _steps.AsSpan(_first, _count);

    /// <summary>Most blocks in any step.</summary>
    public long Peak
    {
        get
        {
            Refresh();
            return Math.Max(0, _use.Of(0, _count));
        }
    }

    /// <summary>Starts anew with these sequences.</summary>
    public void Prepare(ReadOnlySpan<FutureUse> uses)
    {
        int switches = ListEvents(uses), ends = uses.Length;
        _first = _steps.Length;
        _growing.Clear();
        long resting = 0;
        while (ends > 0 || switches > 0)
        {
            int step = Math.Max(ends > 0 ? StepOf(_ends[ends - 1]) : 0, switches > 0 ? StepOf(_switches[switches - 1]) : 0);
            for (; ends > 0 && StepOf(_ends[ends - 1]) == step; ends--) Enter(uses[(int)_ends[ends - 1]], ref resting);
            for (; IsStart(switches - 1, step); switches--) StartGrowing(uses[~(int)_switches[switches - 1]], ref resting);

            _steps[--_first] = step;
            _blocks[_first] = resting + _growing.BlocksAt(step);

            for (; switches > 0 && StepOf(_switches[switches - 1]) == step; switches--) StopGrowing(uses[(int)_switches[switches - 1]], ref resting);
            _alike[_first] = _growing.Count;
        }
        _count = _steps.Length - _first;
        _stale = true;
    }

    /// <summary>The peak if <paramref name="use"/> joined: exact or, where no other sequence leaves with it, up to a block too many for each of the others.</summary>
    public long PeakWith(in FutureUse use)
    {
        Refresh();
        int after = UpTo(use.Last), kept = use.Kept > 0 ? Math.Min(after, UpTo(use.KeptAfter)) : after;
        long peak = Math.Max(PeakWithin(0, kept, use), _use.Of(after, _count));
        if (kept < after) peak = Math.Max(peak, PeakWithin(kept, after, use) + use.Kept);
        return Math.Max(peak, BlocksAt(use.Last, after) + BlocksOf(use, use.Last));
    }

    /// <summary>Adds a sequence.</summary>
    public void Add(in FutureUse use)
    {
        int grown = Math.Min(use.GrowsUntil(slotsPerStep), use.Last);
        if (use.First > 0 && use.First < use.Last) Know(use.First);
        if (grown < use.Last) Know(grown);
        Know(use.Last);

        int end = _first + UpTo(use.Last);
        for (int i = _first, before = 0; i < end; before = _steps[i++])
        {
            _blocks[i] += BlocksOf(use, _steps[i]);
            if (before >= use.First && _steps[i] <= grown) _alike[i]++;
        }
        _stale = true;
    }

    /// <summary>Lists in ascending order when sequences leave, and when they begin or cease to grow; of the same step, those last that cease.</summary>
    private int ListEvents(ReadOnlySpan<FutureUse> uses)
    {
        Reserve(3 * uses.Length);
        int switches = 0;
        for (int i = 0; i < uses.Length; i++)
        {
            ref readonly FutureUse use = ref uses[i];
            if (use.FinalSlots == use.Slots || use.First >= use.Last) continue;
            if (!GrowsToTheEnd(use)) _switches[switches++] = Event(use.GrowsUntil(slotsPerStep), ~i);
            if (use.First > 0) _switches[switches++] = Event(use.First, i);
        }
        SortEnds(uses);
        _switches.AsSpan(0, switches).Sort();
        return switches;
    }

    /// <summary>Counts where steps are few, which is several times faster than comparing.</summary>
    private void SortEnds(ReadOnlySpan<FutureUse> uses)
    {
        int latest = 0;
        foreach (ref readonly FutureUse use in uses) latest = Math.Max(latest, use.Last);
        if (latest >= 8 * uses.Length + 1024)
        {
            for (int i = 0; i < uses.Length; i++) _ends[i] = Event(uses[i].Last, i);
            _ends.AsSpan(0, uses.Length).Sort();
            return;
        }

        if (_places.Length < latest + 2) _places = new int[2 * (latest + 2)];
        Span<int> places = _places.AsSpan(0, latest + 2);
        places.Clear();
        foreach (ref readonly FutureUse use in uses) places[use.Last + 1]++;
        for (int step = 1; step < places.Length; step++) places[step] += places[step - 1];
        for (int i = 0; i < uses.Length; i++) _ends[places[uses[i].Last]++] = Event(uses[i].Last, i);
    }

    private bool IsStart(int index, int step) => index >= 0 && StepOf(_switches[index]) == step && (int)_switches[index] < 0;

    /// <summary>Going back in time: the sequence is there in this step and those before.</summary>
    private void Enter(in FutureUse use, ref long resting)
    {
        bool grows = use.FinalSlots > use.Slots && use.First < use.Last;
        if (grows && GrowsToTheEnd(use)) _growing.Add(use.Slots - (long)slotsPerStep * use.First);
        else resting += BlocksFor(use.SlotsAt(use.Last, slotsPerStep));
    }

    private void StartGrowing(in FutureUse use, ref long resting)
    {
        resting -= BlocksFor(use.FinalSlots);
        _growing.Add(use.Slots - (long)slotsPerStep * use.First);
    }

    private void StopGrowing(in FutureUse use, ref long resting)
    {
        resting += BlocksFor(use.Slots);
        _growing.Remove(use.Slots - (long)slotsPerStep * use.First);
    }

    /// <summary>Whether in its last step it has just what growing gives, so that it need not be told apart from those that grow on.</summary>
    private bool GrowsToTheEnd(in FutureUse use) => use.GrowsUntil(slotsPerStep) >= use.Last;

    /// <summary>The peak of the steps [low, high) with the sequence, which is there in all of them; blocks that it keeps are not counted.</summary>
    private long PeakWithin(int low, int high, in FutureUse use)
    {
        if (low >= high) return 0;
        int grows = Math.Clamp(UpTo(use.First), low, high), full = Math.Clamp(UpTo(use.GrowsUntil(slotsPerStep)), grows, high);
        long peak = 0;
        if (low < grows) peak = _use.Of(low, grows) + BlocksFor(use.Slots);
        if (grows < full)
        {
            long gained = _slope.Of(grows, full) + use.Slots - (long)slotsPerStep * use.First + blockSize - 1;
            peak = Math.Max(peak, FloorDivide(gained, blockSize));
        }
        return full < high ? Math.Max(peak, _use.Of(full, high) + BlocksFor(use.FinalSlots)) : peak;
    }

    /// <summary>Blocks in use in any step, given the place of the first later one: those there, less what is surely grown in between.</summary>
    private long BlocksAt(int step, int after)
    {
        if (after > 0 && Steps[after - 1] == step) return _blocks[_first + after - 1];
        if (after == _count) return 0;
        return _blocks[_first + after] - _alike[_first + after] * ((long)slotsPerStep * (Steps[after] - step) / blockSize);
    }

    private long BlocksOf(in FutureUse use, int step) => BlocksFor(use.SlotsAt(step, slotsPerStep)) + (step > use.KeptAfter ? use.Kept : 0);

    private int BlocksFor(int slots) => (slots + blockSize - 1) / blockSize;

    /// <summary>Number of listed steps up to <paramref name="step"/>.</summary>
    private int UpTo(int step)
    {
        int place = Steps.BinarySearch(step);
        return place >= 0 ? place + 1 : ~place;
    }

    /// <summary>Puts a step among those where the sums are known, before a sequence that ends there is added or changes its growth.</summary>
    private void Know(int step)
    {
        int place = UpTo(step);
        if (place > 0 && Steps[place - 1] == step) return;

        long blocks = BlocksAt(step, place);
        if (_first == 0) Grow(_steps.Length + Math.Max(64, _count));
        int from = _first--, alike = place < _count ? _alike[from + place] : 0;
        Array.Copy(_steps, from, _steps, _first, place);
        Array.Copy(_blocks, from, _blocks, _first, place);
        Array.Copy(_alike, from, _alike, _first, place);
        (_steps[_first + place], _blocks[_first + place], _alike[_first + place]) = (step, blocks, alike);
        _count++;
    }

    /// <summary>Brings the maxima up to date.</summary>
    private void Refresh()
    {
        if (!_stale) return;
        _stale = false;
        ReadOnlySpan<long> blocks = _blocks.AsSpan(_first, _count);
        _use.Set(blocks);
        for (int i = 0; i < blocks.Length; i++) _scratch[i] = blockSize * blocks[i] + (long)slotsPerStep * _steps[_first + i];
        _slope.Set(_scratch.AsSpan(0, _count));
    }

    /// <summary>Makes room for so many steps, and as many again for those that are added.</summary>
    private void Reserve(int steps)
    {
        if (_ends.Length >= steps) return;
        (_ends, _switches) = (new long[2 * steps], new long[2 * steps]);
        _count = 0;
        Grow(2 * steps);
    }

    /// <summary>Makes the arrays of steps longer at their beginning.</summary>
    private void Grow(int length)
    {
        var (steps, blocks, alike) = (new int[length], new long[length], new int[length]);
        Array.Copy(_steps, _first, steps, length - _count, _count);
        Array.Copy(_blocks, _first, blocks, length - _count, _count);
        Array.Copy(_alike, _first, alike, length - _count, _count);
        (_steps, _blocks, _alike, _scratch, _first) = (steps, blocks, alike, new long[length], length - _count);
    }

    private static long Event(int step, int index) => ((long)step << 32) | (uint)index;

    private static int StepOf(long @event) => (int)(@event >> 32);

    private static long FloorDivide(long x, int y) => x >= 0 ? x / y : -((y - 1 - x) / y);
}
