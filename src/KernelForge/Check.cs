using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Text;

namespace KernelForge;

/// <summary>Argument checks whose message is built only on failure, so that a passing check costs a comparison.</summary>
internal static class Check
{
    /// <exception cref="ArgumentException">The condition does not hold.</exception>
    public static void That([DoesNotReturnIf(false)] bool holds, [InterpolatedStringHandlerArgument(nameof(holds))] ref Message message)
    {
        if (!holds) Throw(message.ToString());
    }

    [DoesNotReturn]
    private static void Throw(string message) => throw new ArgumentException(message);

    [InterpolatedStringHandler]
    public readonly ref struct Message
    {
        private readonly StringBuilder? _text;

        public Message(int literalLength, int formattedCount, bool holds, out bool isNeeded)
        {
            isNeeded = !holds;
            _text = holds ? null : new StringBuilder(literalLength + 8 * formattedCount);
        }

        public void AppendLiteral(string literal) => _text!.Append(literal);

        public void AppendFormatted<T>(T value) => _text!.Append(value);

        public override string ToString() => _text!.ToString();
    }
}
