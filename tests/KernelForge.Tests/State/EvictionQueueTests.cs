using KernelForge.Inference;

namespace KernelForge.Tests;

public class EvictionQueueTests
{
    [Fact]
    public void Operations_Random_GiveTheSmallestKeyFirst()
    {
        const int Capacity = 30;
        var random = new Random(3);
        var queue = new EvictionQueue(Capacity);
        var model = new Dictionary<int, long>();
        for (int step = 0; step < 5000; step++)
        {
            int block = random.Next(Capacity);
            if (random.Next(3) > 0) queue.Set(block, model[block] = random.Next(10)); // new, or moved
            else
            {
                queue.Remove(block);
                model.Remove(block);
            }

            Assert.Equal(model.Count, queue.Count);
            for (int i = 0; i < Capacity; i++) Assert.Equal(model.ContainsKey(i), queue.Contains(i));
            Assert.Equal(model.Count > 0, queue.TryPeek(out int first));
            if (model.Count > 0) Assert.Equal(model.Values.Min(), model[first]);
        }
    }
}
