using KernelForge.Inference;

namespace KernelForge.Tests;

public class StopScannerTests
{
    [Theory, InlineData(false), InlineData(true)]
    public void Append_RandomPieces_CutTheTextWhereTheFirstStopStringBegins(bool include)
    {
        string[] stops = ["abab", "bba", "caac"]; // none inside another
        var random = new Random(9);
        for (int trial = 0; trial < 2000; trial++)
        {
            string text = string.Concat(Enumerable.Range(0, random.Next(30)).Select(_ => "abc"[random.Next(3)]));
            var scanner = new StopScanner(stops, include);
            string output = "";
            for (int at = 0; at < text.Length && !scanner.Stopped;)
            {
                int length = Math.Min(text.Length - at, random.Next(1, 6));
                output += scanner.Append(text.Substring(at, length));
                at += length;
                if (!scanner.Stopped) Assert.Equal(Certain(text[..at], stops), output);
            }
            output += scanner.Flush();

            (int start, int length)[] found = [.. stops.Select(stop => (text.IndexOf(stop, StringComparison.Ordinal), stop.Length)).Where(hit => hit.Item1 >= 0).Order()];
            Assert.Equal(found.Length > 0, scanner.Stopped);
            Assert.Equal(found.Length == 0 ? text : text[..(found[0].start + (include ? found[0].length : 0))], output);
        }
    }

    [Fact]
    public void Append_AfterTheStop_ReturnsNothing()
    {
        var scanner = new StopScanner(["END"], includeStop: false);

        Assert.Equal("some ", scanner.Append("some END more"));
        Assert.Equal("", scanner.Append("text"));
        Assert.Equal("", scanner.Flush());
    }

    [Fact]
    public void Append_NoStopStrings_PassesEverythingOn() => Assert.Equal("text", new StopScanner([], includeStop: false).Append("text"));

    /// <summary>All but the longest end that begins a stop string.</summary>
    private static string Certain(string text, string[] stops)
    {
        for (int start = 0; start < text.Length; start++)
        {
            if (stops.Any(stop => stop.StartsWith(text[start..], StringComparison.Ordinal))) return text[..start];
        }
        return text;
    }
}
