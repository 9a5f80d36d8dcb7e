namespace KernelForge.Tests;

/// <summary>Theory data that is every combination of its parts.</summary>
internal static class Cases
{
    public static TheoryData<T1, T2> Of<T1, T2>(IEnumerable<T1> first, IEnumerable<T2> second)
    {
        var cases = new TheoryData<T1, T2>();
        foreach (T1 a in first)
            foreach (T2 b in second) cases.Add(a, b);
        return cases;
    }

    public static TheoryData<T1, T2, T3> Of<T1, T2, T3>(IEnumerable<T1> first, IEnumerable<T2> second, IEnumerable<T3> third)
    {
        var cases = new TheoryData<T1, T2, T3>();
        foreach (T1 a in first)
            foreach (T2 b in second)
                foreach (T3 c in third) cases.Add(a, b, c);
        return cases;
    }

    public static TheoryData<T1, T2, T3, T4> Of<T1, T2, T3, T4>(IEnumerable<T1> first, IEnumerable<T2> second, IEnumerable<T3> third, IEnumerable<T4> fourth)
    {
        var cases = new TheoryData<T1, T2, T3, T4>();
        foreach (T1 a in first)
            foreach (T2 b in second)
                foreach (T3 c in third)
                    foreach (T4 d in fourth) cases.Add(a, b, c, d);
        return cases;
    }
}
