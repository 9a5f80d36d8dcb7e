using System.Globalization;
using System.Xml;

namespace KernelForge.Inference;

/// <summary>
/// Draws timelines as SVG: for every simulation the tokens of a step by kind, the KV blocks in use and the sequences that run and wait. All share
/// their axes, so that they can be compared. The number of points depends on the number of samples only.
/// </summary>
public static class Timeline
{
    private const double Width = 960, Left = 70, Right = 150, PanelHeight = 110, Gap = 34, Title = 34;
    private const string Prompt = "#4878a8", Decode = "#e08a3c", Draft = "#8a6fb0", Kv = "#4f9d69", Running = "#555555", Waiting = "#c44e52";

    /// <summary>Writes one document with all reports, at least one, below each other.</summary>
    public static void WriteSvg(TextWriter writer, IReadOnlyList<SimulationReport> reports)
    {
        double height = Title + 3 * (PanelHeight + Gap);
        var most = new Axes(
            Math.Max(1e-9, reports.Max(report => report.MakespanSeconds)), Top(reports, Tokens), reports.Max(report => report.KvBlocks),
            Top(reports, sample => Math.Max(sample.Running, sample.Waiting)));
        using var xml = XmlWriter.Create(writer, new XmlWriterSettings { Indent = true, NewLineChars = "\n", OmitXmlDeclaration = true });
        xml.WriteStartElement("svg", "http://www.w3.org/2000/svg");
        Attributes(xml, ("viewBox", $"0 0 {Number(Width)} {Number(height * reports.Count)}"), ("font-family", "sans-serif"), ("font-size", "11"));
        Rectangle(xml, 0, 0, Width, height * reports.Count, "white");
        for (int i = 0; i < reports.Count; i++) Write(xml, reports[i], most, i * height);
        xml.WriteEndElement();
    }

    private static void Write(XmlWriter xml, SimulationReport report, in Axes most, double top)
    {
        string title = $"{report.Policy}: {report.Workload}, {report.Model} on {report.Device}, {Number(report.MakespanSeconds)} s";
        Text(xml, Left, top + 20, title, "start", "14");

        var tokens = new Panel(report.Timeline, most.Seconds, most.Tokens, top + Title);
        tokens.Frame(xml, "tokens per step");
        if (report.DraftTokens > 0) tokens.Area(xml, "drafts", 2, Draft, Tokens);
        tokens.Area(xml, "prefill", 1, Prompt, sample => sample.PromptTokens + sample.DecodeTokens);
        tokens.Area(xml, "decode", 0, Decode, sample => sample.DecodeTokens);

        var kv = new Panel(report.Timeline, most.Seconds, most.Blocks, top + Title + PanelHeight + Gap);
        kv.Frame(xml, "KV blocks");
        kv.Area(xml, "in use", 0, Kv, sample => sample.BlocksInUse);

        var queue = new Panel(report.Timeline, most.Seconds, most.Sequences, top + Title + 2 * (PanelHeight + Gap));
        queue.Frame(xml, "sequences");
        queue.Line(xml, "running", 0, Running, sample => sample.Running);
        queue.Line(xml, "waiting", 1, Waiting, sample => sample.Waiting);
    }

    private static double Tokens(TimelineSample sample) => sample.PromptTokens + sample.DecodeTokens + sample.DraftTokens;

    private static double Top(IReadOnlyList<SimulationReport> reports, Func<TimelineSample, double> value) =>
        Math.Max(1, reports.Max(report => report.Timeline.Select(value).DefaultIfEmpty().Max()));

    private static void Rectangle(XmlWriter xml, double x, double y, double width, double height, string fill)
    {
        xml.WriteStartElement("rect");
        Attributes(xml, ("x", Number(x)), ("y", Number(y)), ("width", Number(width)), ("height", Number(height)), ("fill", fill));
        xml.WriteEndElement();
    }

    private static void Text(XmlWriter xml, double x, double y, string text, string anchor, string? size = null)
    {
        xml.WriteStartElement("text");
        Attributes(xml, ("x", Number(x)), ("y", Number(y)), ("text-anchor", anchor));
        if (size is not null) xml.WriteAttributeString("font-size", size);
        xml.WriteString(text);
        xml.WriteEndElement();
    }

    private static void Path(XmlWriter xml, string data, string fill, string stroke)
    {
        xml.WriteStartElement("path");
        Attributes(xml, ("d", data), ("fill", fill), ("stroke", stroke));
        xml.WriteEndElement();
    }

    private static void Attributes(XmlWriter xml, params ReadOnlySpan<(string Name, string Value)> attributes)
    {
        foreach ((string name, string value) in attributes) xml.WriteAttributeString(name, value);
    }

    private static string Number(double value) => value.ToString("0.##", CultureInfo.InvariantCulture);

    /// <summary>Where the axes end.</summary>
    private readonly record struct Axes(double Seconds, double Tokens, double Blocks, double Sequences);

    /// <summary>One diagram: time to the right, a value upwards from 0.</summary>
    private sealed class Panel(IReadOnlyList<TimelineSample> samples, double seconds, double most, double top)
    {
        public void Frame(XmlWriter xml, string title)
        {
            double bottom = top + PanelHeight, right = Width - Right;
            Path(xml, $"M{Number(Left)} {Number(top)}V{Number(bottom)}H{Number(right)}", "none", "#999999");
            Text(xml, Left, top - 5, title, "start");
            Text(xml, Left - 5, top + 9, Number(most), "end");
            Text(xml, Left - 5, bottom, "0", "end");
            Text(xml, right, bottom + 13, $"{Number(seconds)} s", "end");
        }

        public void Area(XmlWriter xml, string name, int place, string colour, Func<TimelineSample, double> value)
        {
            if (samples.Count == 0) return;
            string start = $"M{Number(X(samples[0].Start.TotalSeconds))} {Number(Y(0))}", end = $"V{Number(Y(0))}Z";
            Path(xml, start + Steps(value) + end, colour, "none");
            Legend(xml, name, place, colour);
        }

        public void Line(XmlWriter xml, string name, int place, string colour, Func<TimelineSample, double> value)
        {
            if (samples.Count == 0) return;
            string steps = Steps(value);
            Path(xml, $"M{Number(X(samples[0].Start.TotalSeconds))} {steps[1..]}", "none", colour);
            Legend(xml, name, place, colour);
        }

        /// <summary>A level for every sample, up or down at its beginning and to the right until its end.</summary>
        private string Steps(Func<TimelineSample, double> value) => string.Concat(
            samples.Select(sample => $"V{Number(Y(value(sample)))}H{Number(X(Math.Min(seconds, (sample.Start + sample.Length).TotalSeconds)))}"));

        private void Legend(XmlWriter xml, string name, int place, string colour)
        {
            double x = Width - Right + 12, y = top + 4 + 16 * place;
            Rectangle(xml, x, y, 10, 10, colour);
            Text(xml, x + 16, y + 9, name, "start");
        }

        private double X(double at) => Left + (Width - Left - Right) * at / seconds;

        private double Y(double value) => top + PanelHeight * (1 - Math.Min(1, value / most));
    }
}
