namespace KernelForge.Inference;

/// <summary>The places of a host's queue: how many requests wait, and who stands at its door until one starts. Thread-safe.</summary>
/// <remarks>
/// A place that gets free goes to the first at the door whose tenant may have it. Those left there have no room, so a newcomer with room overtakes nobody of
/// its tenant.
/// </remarks>
internal sealed class QueueSlots(EngineHostOptions options)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, int> _waitingOf = [];
    private readonly LinkedList<Caller> _door = new();
    private int _waiting;
    private Exception? _closed;

    public int Waiting
    {
        get
        {
            lock (_lock) return _waiting;
        }
    }

    /// <summary>
    /// Takes a place, after waiting for one where that is allowed. Throws <see cref="QueueFullException"/> where it is not,
    /// <see cref="OperationCanceledException"/>, or what the queue was closed with.
    /// </summary>
    public async ValueTask EnterAsync(string tenant, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        LinkedListNode<Caller> node;
        lock (_lock)
        {
            if (_closed is not null) throw _closed;
            if (HasRoom(tenant))
            {
                Take(tenant);
                return;
            }
            if (options.WhenFull == WhenFull.Reject) throw Rejection(tenant);
            node = _door.AddLast(new Caller(tenant));
        }
        using CancellationTokenRegistration registration = cancellationToken.Register(() => GiveUp(node, cancellationToken));
        await node.Value.Entered.Task.ConfigureAwait(false);
    }

    /// <summary>Gives a place back.</summary>
    public void Leave(string tenant)
    {
        lock (_lock)
        {
            _waiting--;
            if (--_waitingOf[tenant] == 0) _waitingOf.Remove(tenant);
            for (LinkedListNode<Caller>? node = _door.First, next; node is not null && _waiting < options.QueueCapacity; node = next)
            {
                next = node.Next;
                if (!HasRoom(node.Value.Tenant)) continue;
                _door.Remove(node);
                Take(node.Value.Tenant);
                node.Value.Entered.SetResult();
            }
        }
    }

    /// <summary>Nobody enters any more; those at the door get the exception. The first call counts.</summary>
    public void Close(Exception reason)
    {
        lock (_lock)
        {
            _closed ??= reason;
            foreach (Caller caller in _door) caller.Entered.SetException(_closed);
            _door.Clear();
        }
    }

    private void GiveUp(LinkedListNode<Caller> node, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            if (node.List is null) return; // it has a place, or the queue is closed
            _door.Remove(node);
            node.Value.Entered.SetCanceled(cancellationToken);
        }
    }

    private bool HasRoom(string tenant) =>
        _waiting < options.QueueCapacity && (options.TenantCapacity is not { } most || _waitingOf.GetValueOrDefault(tenant) < most);

    private void Take(string tenant)
    {
        _waiting++;
        _waitingOf[tenant] = _waitingOf.GetValueOrDefault(tenant) + 1;
    }

    private QueueFullException Rejection(string tenant)
    {
        if (_waiting >= options.QueueCapacity)
            return new QueueFullException($"The queue is full: {_waiting} requests wait, {options.QueueCapacity} may.", _waiting, options.QueueCapacity, null);
        int own = _waitingOf[tenant], limit = options.TenantCapacity!.Value;
        return new QueueFullException($"The queue of tenant '{tenant}' is full: {own} of its requests wait, {limit} may.", own, limit, tenant);
    }

    private sealed class Caller(string tenant)
    {
        public string Tenant => tenant;

        public TaskCompletionSource Entered { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
