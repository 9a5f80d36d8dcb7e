using KernelForge.Inference;

namespace KernelForge.Tests;

public class CanonicalCompositionTests
{
    // Cases of Unicode Standard Annex 15 and of NormalizationTest.txt, by the feature that they need.
    [Theory]
    [InlineData("e\u0301", "\u00E9")]
    [InlineData("\u212B", "\u00C5")] // Angstrom sign: a singleton becomes another letter
    [InlineData("\u1E0B\u0323", "\u1E0D\u0307")] // marks are sorted by class before they compose
    [InlineData("q\u0307\u0323", "q\u0323\u0307")]
    [InlineData("a\u0315\u0300", "\u00E0\u0315")] // a mark of a lower class between does not block
    [InlineData("a\u0305\u0301", "a\u0305\u0301")] // one of the same class does
    [InlineData("\u0958", "\u0915\u093C")] // excluded from composition
    [InlineData("\u1112\u1161\u11AB", "\uD55C")] // Hangul L V T
    [InlineData("\uD558\u11AB", "\uD55C")] // Hangul LV T
    [InlineData("\u0B47\u0B3E", "\u0B4B")] // two starters
    [InlineData("\U0001D15E", "\U0001D157\U0001D165")] // outside the basic plane
    [InlineData("\U0002F800", "\u4E3D")] // a compatibility ideograph
    [InlineData("plain é 漢字 😀", "plain é 漢字 😀")]
    public void Apply_Text_Composes(string text, string expected) => Assert.Equal(expected, CanonicalComposition.Apply(text));

    [Fact]
    public void Apply_NothingToCompose_ReturnsTheSameString()
    {
        string text = "Grüße, 世界";
        Assert.Same(text, CanonicalComposition.Apply(text));
    }
}
