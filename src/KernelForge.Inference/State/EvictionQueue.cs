namespace KernelForge.Inference;

/// <summary>
/// Blocks by key, smallest first: a binary heap that knows where each block is, so that one can be taken out. Allocates nothing after construction.
/// </summary>
internal sealed class EvictionQueue
{
    private readonly int[] _heap, _places;
    private readonly long[] _keys;

    public EvictionQueue(int capacity)
    {
        (_heap, _places, _keys) = (new int[capacity], new int[capacity], new long[capacity]);
        Array.Fill(_places, -1);
    }

    public int Count { get; private set; }

    public bool Contains(int block) => _places[block] >= 0;

    /// <summary>The key of a block in the queue.</summary>
    public long KeyOf(int block) => _keys[block];

    /// <summary>Puts a block in, or moves it to where another key belongs.</summary>
    public void Set(int block, long key)
    {
        _keys[block] = key;
        if (!Contains(block)) Put(block, Count++);
        SiftDown(SiftUp(_places[block]));
    }

    /// <summary>Takes a block out; nothing happens when it is not there.</summary>
    public void Remove(int block)
    {
        int place = _places[block];
        if (place < 0) return;

        _places[block] = -1;
        int moved = _heap[--Count];
        if (moved == block) return;
        Put(moved, place);
        SiftDown(SiftUp(place));
    }

    public bool TryPeek(out int block)
    {
        block = Count > 0 ? _heap[0] : -1;
        return Count > 0;
    }

    private int SiftUp(int place)
    {
        int block = _heap[place];
        for (int parent; place > 0 && _keys[_heap[parent = (place - 1) / 2]] > _keys[block]; place = parent) Put(_heap[parent], place);
        Put(block, place);
        return place;
    }

    private void SiftDown(int place)
    {
        int block = _heap[place];
        for (int child; (child = 2 * place + 1) < Count; place = child)
        {
            if (child + 1 < Count && _keys[_heap[child + 1]] < _keys[_heap[child]]) child++;
            if (_keys[_heap[child]] >= _keys[block]) break;
            Put(_heap[child], place);
        }
        Put(block, place);
    }

    private void Put(int block, int place)
    {
        _heap[place] = block;
        _places[block] = place;
    }
}
