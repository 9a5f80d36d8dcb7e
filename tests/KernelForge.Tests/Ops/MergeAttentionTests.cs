namespace KernelForge.Tests;

public sealed class MergeAttentionTests(OpenDevices devices) : IClassFixture<OpenDevices>
{
    private const int Tokens = 7, Heads = 3;

    public static TheoryData<string, DType, int, int> Shapes
    {
        get
        {
            var data = new TheoryData<string, DType, int, int>();
            foreach (string device in Devices.Names)
                foreach (DType type in Numbers.FloatTypes)
                    foreach ((int headDim, int gap) in ((int, int)[])[(64, 0), (80, 8), (7, 0), (128, 3), (300, 4)]) data.Add(device, type, headDim, gap);
            return data;
        }
    }

    public static TheoryData<string> All => Devices.All;

    [DeviceTheory]
    [MemberData(nameof(Shapes))]
    public void MergeAttention_AnyShape_EqualsTheDefinition(string deviceName, DType type, int headDim, int gap)
    {
        using var a = new State(devices.Open(deviceName), type, headDim, gap, 1, Numbers.Uniform(5, Tokens * Heads, 4));
        using var b = new State(devices.Open(deviceName), type, headDim, gap, 2, Numbers.Uniform(6, Tokens * Heads, 4));
        using var result = new State(devices.Open(deviceName), type, headDim, gap + 1);
        AssertMerged(deviceName, a, b, result);
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void MergeAttention_EmptyPartsAndLargeLogarithms_AreExact(string deviceName)
    {
        const float none = float.NegativeInfinity;
        float[] lseOfA = [none, none, 3, 1e4f, -1e4f, 1e4f, -1e4f, 1e4f, -1e4f, none, 1e4f, -1e4f, none, 0, -0f, 1, 2, -80, 80, 1e-8f, -3e38f];
        float[] lseOfB = [none, 2, none, -1e4f, 1e4f, 1e4f, -1e4f, 9999.5f, -9999, 1e4f, none, none, -1e4f, 0, 0, 20, -15, 10, 0, -1e-8f, 3e38f];
        foreach (DType type in Devices.FloatTypes(deviceName))
        {
            using var a = new State(devices.Open(deviceName), type, 64, 0, 1, lseOfA);
            using var b = new State(devices.Open(deviceName), type, 64, 0, 2, lseOfB);
            using var result = new State(devices.Open(deviceName), type, 64, 0);
            AssertMerged(deviceName, a, b, result);

            float[] outOfA = a.Out.Get(), outOfB = b.Out.Get(), merged = result.Out.Get();
            Assert.All(merged[..64], value => Assert.Equal(0, value)); // both parts are empty
            Close.AssertSameBits(outOfB.AsSpan(64, 64), merged.AsSpan(64, 64)); // one is
            Close.AssertSameBits(outOfA.AsSpan(128, 64), merged.AsSpan(128, 64));
        }
    }

    [DeviceTheory]
    [MemberData(nameof(All))]
    public void MergeAttention_InPlace_GivesTheSameBits(string deviceName)
    {
        Device device = devices.Open(deviceName);
        DType type = Devices.FloatTypes(deviceName)[0];
        float[] lseOfA = Numbers.Uniform(3, Tokens * Heads, 2), lseOfB = Numbers.Uniform(4, Tokens * Heads, 2);
        using State a = new(device, type, 96, 0, 1, lseOfA), b = new(device, type, 96, 0, 2, lseOfB), result = new(device, type, 96, 0);
        device.Operators.MergeAttention(a.Parts, b.Parts, result.Parts);
        foreach (bool overA in (bool[])[true, false])
        {
            using State left = new(device, type, 96, 0, 1, lseOfA), right = new(device, type, 96, 0, 2, lseOfB);
            State target = overA ? left : right;
            device.Operators.MergeAttention(left.Parts, right.Parts, target.Parts);
            Close.AssertSameBits(result.Out.Get(), target.Out.Get());
            Close.AssertSameBits(result.Lse.Get(), target.Lse.Get());
        }
    }

    private void AssertMerged(string deviceName, State a, State b, State result)
    {
        devices.Open(deviceName).Operators.MergeAttention(a.Parts, b.Parts, result.Parts);
        result.Out.AssertUntouchedAround();
        result.Lse.AssertUntouchedAround();
        int headDim = a.Out.Matrix.Columns / Heads;
        float[] outOfA = a.Out.Get(), outOfB = b.Out.Get(), lseOfA = a.Lse.Get(), lseOfB = b.Lse.Get();
        double[] lse = new double[lseOfA.Length], merged = new double[outOfA.Length], bounds = new double[outOfA.Length];
        for (int row = 0; row < lse.Length; row++)
        {
            double largest = Math.Max(lseOfA[row], lseOfB[row]), behindA = largest - lseOfA[row], behindB = largest - lseOfB[row];
            lse[row] = double.IsNegativeInfinity(largest) ? largest : largest + Math.Log(Math.Exp(-behindA) + Math.Exp(-behindB));
            for (int i = row * headDim; i < (row + 1) * headDim; i++)
            {
                double ofA = Part(lseOfA[row], lse[row], outOfA[i]), ofB = Part(lseOfB[row], lse[row], outOfB[i]);
                merged[i] = ofA + ofB;
                bounds[i] = Close.Bound(a.Out.Matrix.DType, merged[i], 2, Math.Abs(ofA) + Math.Abs(ofB)) + WeightBound(ofA, behindA) + WeightBound(ofB, behindB);
            }
        }
        Close.AssertEqual(lse, result.Lse.Get(), row => (Math.Abs(lse[row]) + 8) * Math.Pow(2, -23));
        Close.AssertEqual(merged, result.Out.Get(), i => bounds[i]);

        static double Part(double lseOfPart, double lse, double value) => double.IsNegativeInfinity(lseOfPart) ? 0 : Math.Exp(lseOfPart - lse) * value;
    }

    /// <summary>A weight e^-x is off by x roundings of its argument and some of itself; below the smallest normal number it is 0.</summary>
    private static double WeightBound(double part, double behind) => part == 0 ? 0 : Math.Abs(part) * (behind + 16) * Math.Pow(2, -24) + Math.Pow(2, -126);

    /// <summary>Output and lse in guarded memory.</summary>
    private sealed class State(Device device, DType type, int headDim, int gap) : IDisposable
    {
        public State(Device device, DType type, int headDim, int gap, int seed, float[] lse)
            : this(device, type, headDim, gap)
        {
            Out.Set(Numbers.Uniform(seed, Tokens * Heads * headDim));
            Lse.Set(lse);
        }

        public GuardedMatrix Out { get; } = new(device, type, Tokens, Heads * headDim, gap);

        public GuardedMatrix Lse { get; } = new(device, DType.F32, Tokens, Heads, gap);

        public AttentionState Parts => new(Out, Lse);

        public void Dispose()
        {
            Out.Dispose();
            Lse.Dispose();
        }
    }
}
