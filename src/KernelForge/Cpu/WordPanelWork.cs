using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KernelForge.Cpu;

/// <summary>
/// From the words of a checkpoint to panels, with nothing between. A thread writes the panels that it multiplies later. Eight outputs, half a panel, are packed at a time:
/// GPTQ's words of eight outputs are half a line but for the order of codes in a word, those of compressed-tensors become one by a transpose, and codes in another order
/// are gathered one k after the other.
/// </summary>
/// <param name="words">The matrix, or the gates.</param>
/// <param name="up">The up projection of gated weights.</param>
/// <param name="packed">Where to.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly unsafe struct WordPanelWork(WordMatrix words, WordMatrix? up, PackedWeights packed) : IParallelWork
{
    private const int Tile = PackedLayout.Tile, Width = PanelLayout.Panel, Half = Width / 2, TilePanels = Tile / Width;

    private readonly PackedLayout _layout = packed.Layout;
    private readonly int _bits = packed.Format.Bits, _perWord = 32 / packed.Format.Bits;

    /// <summary>Panels, those of padding included.</summary>
    public int Count => _layout.Tiles * TilePanels;

    public void Run(int part, int parts)
    {
        RowRange range = Panels.Part(Count, part, parts);
        for (int panel = range.Start; panel < range.End; panel++)
        {
            (int tile, int inTile) = Math.DivRem(panel, TilePanels);
            byte* first = (byte*)packed.Buffer.Address + (long)tile * _layout.Blocks * _layout.BlockBytes + inTile * (_layout.BlockBytes / TilePanels);
            for (int half = 0; half < 2; half++)
            {
                WordMatrix from = half == 1 && up is not null ? up : words;
                var outputs = new Outputs(from, up is null ? panel * Width + half * Half : panel * Half);
                for (int block = 0; block < _layout.Blocks; block++)
                    PackBlock(outputs, block * Tile, (uint*)(first + (long)block * _layout.BlockBytes) + half * Half);
            }
        }
    }

    /// <summary>128 k of eight outputs.</summary>
    private void PackBlock(in Outputs outputs, int firstK, uint* lines)
    {
        int count = Tile / _perWord, whole = outputs.Count < Half ? 0 : Math.Min(count, (_layout.K - firstK) / _perWord), done = 0;
        if (outputs.From.Order is null && outputs.From.WordOrder == WordOrder.CompressedTensors) done = Transpose(outputs, firstK, whole, lines);
        else if (outputs.From.Order is null && outputs.From.WordOrder == WordOrder.Gptq) done = Copy(outputs, firstK, whole, lines);
        else if (Avx2.IsSupported) done = Gather(outputs, firstK, whole, lines);
        for (; done < count; done++)
            for (int output = 0; output < Half; output++) lines[done * Width + output] = Word(outputs, output, firstK + done * _perWord);
    }

    /// <summary>Words of compressed-tensors, so many as make whole squares; returns how many.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private int Transpose(in Outputs outputs, int firstK, int whole, uint* lines)
    {
        const int square = PanelWords.Square;
        uint* source = (uint*)outputs.From.Address + (long)outputs.First * outputs.From.WordsOfRow + firstK / _perWord;
        int done = 0;
        for (; done + square <= whole; done += square, source += square, lines += square * Width)
        {
            PanelWords.Transpose(source, outputs.From.WordsOfRow, lines, Width);
            for (int word = 0; word < square && _bits == 4; word++) PanelWords.Interleave(Vector256.Load(lines + word * Width)).Store(lines + word * Width);
        }
        return done;
    }

    /// <summary>Words of GPTQ; returns how many.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private int Copy(in Outputs outputs, int firstK, int whole, uint* lines)
    {
        nint stride = outputs.From.WordsOfRow;
        uint* source = (uint*)outputs.From.Address + firstK / _perWord * stride + outputs.First;
        for (int word = 0; word < whole; word++, source += stride, lines += Width)
        {
            Vector256<uint> eight = Vector256.Load(source);
            (_bits == 4 ? PanelWords.Interleave(eight) : eight).Store(lines);
        }
        return whole;
    }

    /// <summary>Codes of inputs that have an order, or of AWQ, one k of eight outputs after the other; returns how many words.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private int Gather(in Outputs outputs, int firstK, int whole, uint* lines)
    {
        WordMatrix from = outputs.From;
        Vector256<uint> mask = Vector256.Create((1u << _bits) - 1);
        for (int word = 0; word < whole; word++, firstK += _perWord, lines += Width)
        {
            Vector256<uint> result = default;
            for (int i = 0; i < _perWord; i++)
            {
                int input = from.Order is null ? firstK + i : from.Order[firstK + i];
                result |= (Codes(from, outputs.First, input) & mask) << Place(i);
            }
            result.Store(lines);
        }
        return whole;
    }

    /// <summary>The codes of eight outputs in the lowest bits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private Vector256<uint> Codes(WordMatrix from, int output, int input)
    {
        uint* words = (uint*)from.Address;
        nint stride = from.WordsOfRow;
        if (from.WordOrder == WordOrder.Gptq) return Vector256.Load(words + input / _perWord * stride + output) >>> input % _perWord * _bits;
        if (from.WordOrder == WordOrder.CompressedTensors)
            return Avx2.GatherVector256(words + output * stride + input / _perWord, Vector256<int>.Indices * (int)stride, sizeof(uint)) >>> input % _perWord * _bits;
        return Avx2.ShiftRightLogicalVariable(Vector256.Create(words[input * stride + output / Half]), Vector256.Create(0u, 16, 4, 20, 8, 24, 12, 28));
    }

    /// <summary>A word of one output; behind the last weight, and behind the last output, codes mean 0.</summary>
    private uint Word(in Outputs outputs, int output, int firstK)
    {
        bool exists = output < outputs.Count;
        int empty = exists && _layout.Format.GroupSize == 0 ? outputs.From.Zero(outputs.First + output) : _layout.Format.HasZeroPoints ? 0 : _layout.Format.MiddleCode;
        uint word = 0;
        for (int i = 0; i < _perWord; i++)
        {
            int k = firstK + i;
            int code = exists && k < _layout.K ? WordCodes.Read(outputs.From, outputs.First + output, outputs.From.Order is null ? k : outputs.From.Order[k]) : empty;
            word |= (uint)code << Place(i);
        }
        return word;
    }

    /// <summary>The lowest bit of a code in a word of a panel.</summary>
    private int Place(int code) => code % sizeof(uint) * 8 + code / sizeof(uint) * _bits;

    /// <summary>Eight outputs of a matrix, or as many as there are.</summary>
    private readonly struct Outputs(WordMatrix from, int first)
    {
        public WordMatrix From { get; } = from;
        public int First { get; } = first;
        public int Count { get; } = Math.Min(from.N - first, Half);
    }
}
