using KernelForge.Inference;

namespace KernelForge.Tests;

public class BlockPoolTests
{
    [Fact]
    public void Operations_Random_AgreeWithADictionary()
    {
        var random = new Random(3);
        var pool = new BlockPool(9);
        var references = new Dictionary<int, int>();
        for (int step = 0; step < 3000; step++)
        {
            switch (random.Next(3))
            {
                case 0:
                    Assert.Equal(references.Count < 9, pool.TryAllocate(out int block));
                    if (block >= 0) references.Add(block, 1); // throws when it was not free
                    break;
                case 1 when references.Count > 0:
                    int held = references.Keys.ElementAt(random.Next(references.Count));
                    pool.AddReference(held);
                    references[held]++;
                    break;
                case 2 when references.Count > 0:
                    int released = references.Keys.ElementAt(random.Next(references.Count));
                    Assert.Equal(--references[released], pool.Release(released));
                    if (references[released] == 0) references.Remove(released);
                    break;
            }
            pool.CheckIntegrity();
            Assert.Equal(references.Count, pool.UsedCount);
            foreach ((int block, int count) in references) Assert.Equal(count, pool.References(block));
        }
    }

    [Fact]
    public void FreeBlock_ReleasedOrShared_Throws()
    {
        var pool = new BlockPool(2);
        Assert.True(pool.TryAllocate(out int block));
        pool.Release(block);

        Assert.Throws<InvalidOperationException>(() => pool.Release(block));
        Assert.Throws<InvalidOperationException>(() => pool.AddReference(block));
        Assert.Throws<ArgumentOutOfRangeException>(() => pool.AddReference(2));
    }

    [Fact]
    public void Capacity_Zero_Throws() => Assert.Throws<ArgumentException>(() => new BlockPool(0));
}
