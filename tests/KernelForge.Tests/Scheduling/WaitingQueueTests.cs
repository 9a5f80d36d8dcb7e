using KernelForge.Inference;

namespace KernelForge.Tests;

public class WaitingQueueTests
{
    [Fact]
    public void Passes_Random_VisitInOrderAndKeepTheDeferred()
    {
        var random = new Random(23);
        var queue = new WaitingQueue();
        var waiting = new List<Sequence>();
        var taken = new List<Sequence>();
        for (int step = 0; step < 2000; step++)
        {
            for (int i = random.Next(4); i > 0; i--)
            {
                var sequence = new Sequence(step * 10 + i, new Request([1]), 0, 8) { QueueKey = random.Next(5) };
                queue.Add(sequence);
                waiting.Add(sequence);
            }
            if (taken.Count > 0 && random.Next(3) == 0)
            {
                Sequence preempted = taken[random.Next(taken.Count)];
                preempted.Preempted = true;
                queue.AddPreempted(preempted);
                taken.Remove(preempted);
                waiting.Add(preempted);
            }
            if (waiting.Count > 0 && random.Next(5) == 0)
            {
                Sequence cancelled = waiting[random.Next(waiting.Count)];
                cancelled.Status = SequenceStatus.Finished;
                waiting.Remove(cancelled);
            }

            Sequence[] expected = [.. waiting.OrderBy(s => !s.Preempted).ThenBy(s => s.QueueKey).ThenBy(s => s.Id)];
            queue.StartPass();
            int visits = random.Next(expected.Length + 1);
            for (int i = 0; i < visits; i++)
            {
                Assert.True(queue.TryPeek(out Sequence next));
                Assert.Same(expected[i], next);
                if (random.Next(2) == 0)
                {
                    queue.Defer();
                    continue;
                }
                queue.Take();
                next.Preempted = false;
                waiting.Remove(next);
                taken.Add(next);
            }
            if (visits == expected.Length) Assert.False(queue.TryPeek(out _));
            queue.EndPass();
        }
    }
}
