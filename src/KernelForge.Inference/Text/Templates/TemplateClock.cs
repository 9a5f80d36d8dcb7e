using System.Globalization;
using System.Text;

namespace KernelForge.Inference;

/// <summary>The <c>strftime_now</c> function of templates.</summary>
internal static class TemplateClock
{
    /// <summary>Writes a time in the format of C's strftime; <c>%-d</c> leaves out leading zeros.</summary>
    public static string Format(DateTimeOffset time, string format)
    {
        var text = new StringBuilder();
        for (int i = 0; i < format.Length; i++)
        {
            if (format[i] != '%' || i + 1 == format.Length)
            {
                text.Append(format[i]);
                continue;
            }
            bool unpadded = format[i + 1] == '-' && i + 2 < format.Length;
            i += unpadded ? 2 : 1;
            string field = Field(time, format[i]);
            text.Append(unpadded && field.Length > 1 ? field.TrimStart('0') is { Length: > 0 } rest ? rest : "0" : field);
        }
        return text.ToString();
    }

    private static string Field(DateTimeOffset time, char field) => field switch
    {
        'Y' => time.ToString("yyyy", CultureInfo.InvariantCulture),
        'y' => time.ToString("yy", CultureInfo.InvariantCulture),
        'm' => time.ToString("MM", CultureInfo.InvariantCulture),
        'd' => time.ToString("dd", CultureInfo.InvariantCulture),
        'B' => time.ToString("MMMM", CultureInfo.InvariantCulture),
        'b' => time.ToString("MMM", CultureInfo.InvariantCulture),
        'A' => time.ToString("dddd", CultureInfo.InvariantCulture),
        'a' => time.ToString("ddd", CultureInfo.InvariantCulture),
        'H' => time.ToString("HH", CultureInfo.InvariantCulture),
        'I' => time.ToString("hh", CultureInfo.InvariantCulture),
        'M' => time.ToString("mm", CultureInfo.InvariantCulture),
        'S' => time.ToString("ss", CultureInfo.InvariantCulture),
        'p' => time.ToString("tt", CultureInfo.InvariantCulture),
        'j' => time.DayOfYear.ToString("000", CultureInfo.InvariantCulture),
        '%' => "%",
        _ => throw new ChatTemplateException(
            $"Chat template: strftime_now with %{field}; supported: Y y m d B b A a H I M S p j %, with - for no leading zeros."),
    };
}
