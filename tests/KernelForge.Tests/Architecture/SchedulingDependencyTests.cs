using System.Numerics;
using KernelForge.Inference;

namespace KernelForge.Tests;

public class SchedulingDependencyTests
{
    private static readonly Type[] Seams = [typeof(IQueueOrder), typeof(IAdmissionPolicy), typeof(IDecodeSelector)];

    [Fact]
    public void Scheduler_AndItsPoliciesAndState_NameNoTypeOfTheNumericsAssembly()
    {
        Type[] types = typeof(Scheduler).Assembly.GetTypes();
        HashSet<Type> reached = TypeReferences.Closure([.. types.Where(type => Seams.Any(seam => seam.IsAssignableFrom(type))), typeof(Scheduler)]);

        Assert.Contains(typeof(PrefixTree), reached); // the walk does go into bodies and fields
        Assert.DoesNotContain(reached, type => type.Assembly.GetName().Name == "KernelForge");
        Assert.DoesNotContain(typeof(IStepRunner), reached);
    }

    [Fact]
    public void NamedBy_TypeUsedOnlyInsideABody_FindsIt() => Assert.Contains(typeof(BigInteger), TypeReferences.NamedBy(typeof(UsesBigInteger)));

    private sealed class UsesBigInteger
    {
        public string Text(int value) => BigInteger.Pow(value, 3).ToString();
    }
}
