namespace KernelForge.Inference;

/// <summary>An ended turn of a conversation, as whoever decides how long its keys and values are kept sees it.</summary>
/// <param name="TaskClass"><see cref="Request.TaskClass"/>.</param>
/// <param name="Tokens">Tokens that the next turn would have to compute again.</param>
/// <param name="Share">Share of the KV blocks that keeping them takes, in [0, 1].</param>
/// <param name="Load">Share of the KV blocks in use, in [0, 1]; 1 when anybody waits.</param>
public readonly record struct EndedTurn(string TaskClass, int Tokens, double Share, double Load);

/// <summary>How long keys and values of an ended turn are kept for the next one. Of one scheduler.</summary>
public interface IKeepAlive
{
    /// <summary>How long to keep them; not at all when not positive.</summary>
    TimeSpan KeepFor(in EndedTurn turn);

    /// <summary>What keeping them longer is worth, in any unit: when memory is short the least is given up first.</summary>
    /// <param name="turn">The turn, as it was at its end.</param>
    /// <param name="waited">Time since its end.</param>
    /// <param name="keepFor">How long it is to be kept, from its end.</param>
    double WorthOf(in EndedTurn turn, TimeSpan waited, TimeSpan keepFor);

    /// <summary>The next turn came after this pause, whether the keys and values were still there or not.</summary>
    void Resumed(string taskClass, TimeSpan pause)
    {
    }
}
