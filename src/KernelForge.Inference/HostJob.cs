using System.Threading.Channels;

namespace KernelForge.Inference;

/// <summary>A request on its way through a host.</summary>
internal sealed class HostJob(Request request, TimeSpan arrivedAt)
{
    private volatile bool _isAbandoned;

    public Request Request { get; } = request;

    /// <summary>When its caller came, on the engine's clock.</summary>
    public TimeSpan ArrivedAt { get; } = arrivedAt;

    public Channel<TokenEvent> Events { get; } =
        Channel.CreateUnbounded<TokenEvent>(new UnboundedChannelOptions { SingleReader = true, SingleWriter = true });

    /// <summary>Nobody reads it any more.</summary>
    public bool IsAbandoned
    {
        get => _isAbandoned;
        set => _isAbandoned = value;
    }

    /// <summary>Whether it has left the queue. The engine's thread only, as what follows.</summary>
    public bool HasLeft { get; set; }

    public IReadOnlyList<Sequence> Sequences { get; set; } = [];

    public int EndedCount { get; set; }
}
