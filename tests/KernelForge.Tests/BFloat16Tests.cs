namespace KernelForge.Tests;

public class BFloat16Tests
{
    [Fact]
    public void Conversion_EveryCode_SurvivesTheWayToFloatAndBack()
    {
        for (int code = 0; code < 65_536; code++)
        {
            var value = BFloat16.FromBits((ushort)code);
            if (float.IsNaN(value)) Assert.True(float.IsNaN((BFloat16)(float)value), $"code {code:X4}");
            else Assert.Equal(code, ((BFloat16)(float)value).ToBits());
        }
    }

    [Fact]
    public void Conversion_FloatBetweenTwoCodes_RoundsToTheNearestAndTiesToEven()
    {
        // The largest finite number is followed by infinity, which takes the place of 2^128.
        for (int code = 0; code < 0x7F80; code++)
        {
            double low = BFloat16.FromBits((ushort)code), high = code + 1 == 0x7F80 ? Math.Pow(2, 128) : BFloat16.FromBits((ushort)(code + 1));
            var middle = (float)((low + high) / 2); // exact: one bit more than BFloat16 has
            int even = code + (code & 1);

            foreach (int sign in (int[])[0, 0x8000])
            {
                float Signed(float value) => sign == 0 ? value : -value;
                Assert.Equal(code | sign, ((BFloat16)Signed(MathF.BitDecrement(middle))).ToBits());
                Assert.Equal(even | sign, ((BFloat16)Signed(middle)).ToBits());
                Assert.Equal((code + 1) | sign, ((BFloat16)Signed(MathF.BitIncrement(middle))).ToBits());
            }
        }
    }

    [Fact]
    public void Conversion_NanWhoseUpperFractionIsZero_StaysNan()
    {
        Assert.True(float.IsNaN((BFloat16)BitConverter.UInt32BitsToSingle(0x7F80_0001)));
        Assert.True(float.IsNaN((BFloat16)BitConverter.UInt32BitsToSingle(0xFFFF_FFFF)));
    }

    [Fact]
    public void Equality_FollowsIeeeForOperatorsAndGroupsNanForEquals()
    {
        BFloat16 nan = (BFloat16)float.NaN, zero = (BFloat16)0f, minusZero = (BFloat16)(-0f);

        Assert.True(zero == minusZero);
        Assert.True(nan != BFloat16.FromBits(nan.ToBits()));
        Assert.True(nan.Equals(BFloat16.FromBits(nan.ToBits())));
        Assert.Equal(zero.GetHashCode(), minusZero.GetHashCode());
    }
}
