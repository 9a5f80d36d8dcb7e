namespace KernelForge.Tests;

public sealed class AttentionTests
{
    public static TheoryData<string> All => Devices.All;

    [Theory]
    [MemberData(nameof(All))]
    public void Attention_ManyShapes_EqualsTheDefinition(string deviceName)
    {
        (int Length, int QueryHeads, int KvHeads, int HeadDim, int BlockSize, DType Cache, DType Query, DType Result)[] cases =
        [
            (1, 1, 1, 16, 16, DType.F32, DType.F32, DType.F32),
            (70, 4, 2, 32, 16, DType.F16, DType.F32, DType.BF16),
            (65, 3, 1, 20, 4, DType.BF16, DType.F16, DType.F32),
            (130, 2, 2, 128, 8, DType.F32, DType.BF16, DType.F16),
            (67, 5, 1, 7, 16, DType.F32, DType.F32, DType.F32),
            (66, 2, 1, 256, 32, DType.F16, DType.F16, DType.F16),
            (64, 2, 1, 80, 16, DType.BF16, DType.BF16, DType.BF16),
            (600, 2, 1, 16, 16, DType.F32, DType.F32, DType.F32),
        ];
        foreach ((int length, int queryHeads, int kvHeads, int headDim, int blockSize, DType cache, DType query, DType result) in cases)
        {
            var inputs = new AttentionInputs(length, length, queryHeads, kvHeads, headDim, range: 2);
            using var paged = new PagedSequences(Devices.Open(deviceName), new KvFormat(blockSize, kvHeads, headDim, cache), queryHeads, 1, inputs);
            float[] actual = paged.Attend(query, result, (0, 0, length))[0];

            foreach (int position in (int[])[0, length / 2, length - 1])
            {
                for (int head = 0; head < queryHeads; head++)
                {
                    int start = (position * queryHeads + head) * headDim, kvHead = head / (queryHeads / kvHeads);
                    float[] q = [.. inputs.Queries[start..(start + headDim)].Select(v => Close.Round(v, query))];
                    (double[] expected, double[] magnitude) = ReferenceAttention.Compute(
                        q, j => paged.Key(0, kvHead, j), j => paged.Value(0, kvHead, j), position + 1, paged.Scale);
                    Close.AssertEqual(expected, actual.AsSpan(start, headDim), i => Close.Bound(result, expected[i], position + 1 + 4 * headDim, magnitude[i]));
                }
            }
        }
    }
}
