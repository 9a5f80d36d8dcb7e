namespace KernelForge.Tests.Reference;

/// <summary>
/// The Llama family in double precision, straight from the definitions: whole sequence at once, no cache, no batch. What the product is judged by, so nothing of it is used here
/// but the configuration record.
/// </summary>
/// <param name="config">Shape of the model.</param>
/// <param name="weights">A tensor's elements by its Hugging Face name, row-major.</param>
internal sealed class ReferenceTransformer(ModelConfig config, Func<string, double[]> weights)
{
    private readonly Dictionary<string, double[]> _weights = [];

    /// <summary>Logits of every position, and beside each the sum of |hidden · weight| that a rounding error in it scales with.</summary>
    public (double[] Logits, double[] Magnitudes)[] Run(ReadOnlySpan<int> tokens)
    {
        double[][] stream = [.. tokens.ToArray().Select(token => Tensor("model.embed_tokens.weight")[(token * config.HiddenSize)..((token + 1) * config.HiddenSize)])];
        for (int layer = 0; layer < config.Layers; layer++)
        {
            string name = $"model.layers.{layer}";
            AddTo(stream, Attend(name + ".self_attn", [.. stream.Select(x => Norm(x, name + ".input_layernorm.weight"))]));
            AddTo(stream, [.. stream.Select(x => Mlp(name + ".mlp", Norm(x, name + ".post_attention_layernorm.weight")))]);
        }

        double[] head = Tensor(config.TiedEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight");
        double[] magnitudes = [.. head.Select(Math.Abs)];
        return [.. stream.Select(x => Norm(x, "model.norm.weight")).Select(hidden => (Multiply(head, hidden), Multiply(magnitudes, [.. hidden.Select(Math.Abs)])))];
    }

    /// <summary>
    /// Rounding bound of a logit computed in F32: every layer's two blocks and the head add errors of 4 √K 2⁻²⁴ relative to the terms of their sums, and the normalisation
    /// before the head makes the stream's relative error that of the logit's terms.
    /// </summary>
    public double Bound(double magnitude)
    {
        int terms = new[] { config.HiddenSize, config.MlpSize, config.QueryHeads * config.HeadDim }.Max();
        return (2 * config.Layers + 2) * 4 * Math.Sqrt(terms) * Math.Pow(2, -24) * magnitude;
    }

    /// <summary>
    /// Rounding bound of a logit when every result on the way is rounded to a type. A layer has eleven such results behind each other: two normalisations,
    /// projection, rotation, attention, output, gate, product, down projection and two sums; embedding and last normalisation come on top. Their errors are as
    /// likely up as down, so they grow as the root of their number.
    /// </summary>
    public double Bound(double magnitude, DType activations) =>
        Bound(magnitude) + (activations == DType.F32 ? 0 : Math.Sqrt(11 * config.Layers + 2) * Close.UnitRoundoff(activations) * magnitude);

    /// <summary>Greedy continuation, and the distance between best and second logit at each of its tokens.</summary>
    public (int[] Tokens, double[] Margins) Generate(ReadOnlySpan<int> prompt, int count)
    {
        List<int> tokens = [.. prompt];
        List<double> margins = [];
        for (int i = 0; i < count; i++)
        {
            double[] logits = Run([.. tokens])[^1].Logits;
            double[] best = [.. logits.OrderDescending().Take(2)];
            margins.Add(best[0] - best[1]);
            tokens.Add(Array.IndexOf(logits, best[0]));
        }
        return ([.. tokens.Skip(prompt.Length)], [.. margins]);
    }

    private double[][] Attend(string name, double[][] x)
    {
        int perKv = config.QueryHeads / config.KvHeads;
        double[][][] queries = Heads(name + ".q_proj", x, config.QueryHeads, config.QkvBias, rotate: true, config.QkNorm ? name + ".q_norm.weight" : null);
        double[][][] keys = Heads(name + ".k_proj", x, config.KvHeads, config.QkvBias, rotate: true, config.QkNorm ? name + ".k_norm.weight" : null);
        double[][][] values = Heads(name + ".v_proj", x, config.KvHeads, config.QkvBias, rotate: false, null);
        return [.. Enumerable.Range(0, x.Length).Select(token => Project(name + ".o_proj", config.OutputBias,
            [.. Enumerable.Range(0, config.QueryHeads).SelectMany(head => AttendOne(queries[token][head], token, keys, values, head / perKv))]))];
    }

    private double[] AttendOne(double[] query, int token, double[][][] keys, double[][][] values, int head)
    {
        double[] scores = [.. Enumerable.Range(0, token + 1).Select(j => Dot(query, keys[j][head]) / Math.Sqrt(config.HeadDim))];
        double top = scores.Max(), sum = scores.Sum(score => Math.Exp(score - top));
        var result = new double[config.HeadDim];
        for (int j = 0; j <= token; j++)
            for (int i = 0; i < result.Length; i++) result[i] += Math.Exp(scores[j] - top) / sum * values[j][head][i];
        return result;
    }

    private double[][][] Heads(string name, double[][] x, int heads, bool bias, bool rotate, string? norm) => [.. x.Select((row, position) =>
    {
        double[][] split = [.. Project(name, bias, row).Chunk(config.HeadDim)];
        if (norm is not null) split = [.. split.Select(head => Norm(head, norm))];
        Assert.Equal(heads, split.Length);
        return rotate ? [.. split.Select(head => Rotate(head, position))] : split;
    })];

    private double[] Rotate(double[] head, int position)
    {
        int half = head.Length / 2;
        var result = new double[head.Length];
        for (int i = 0; i < half; i++)
        {
            (double sin, double cos) = Math.SinCos(position * Frequency(i));
            result[i] = head[i] * cos - head[i + half] * sin;
            result[i + half] = head[i + half] * cos + head[i] * sin;
        }
        return result;
    }

    // Llama 3's rule as its authors wrote it, by wavelength.
    private double Frequency(int i)
    {
        double frequency = 1 / Math.Pow(config.RopeTheta, 2.0 * i / config.HeadDim), wavelength = 2 * Math.PI / frequency;
        if (config.RopeScaling == RopeScaling.Linear) return frequency / config.RopeFactor;
        if (config.RopeScaling == RopeScaling.None || wavelength < config.RopeOriginalPositions / config.RopeHighFrequencyFactor) return frequency;
        if (wavelength > config.RopeOriginalPositions / config.RopeLowFrequencyFactor) return frequency / config.RopeFactor;
        double smooth = (config.RopeOriginalPositions / wavelength - config.RopeLowFrequencyFactor) / (config.RopeHighFrequencyFactor - config.RopeLowFrequencyFactor);
        return (1 - smooth) * frequency / config.RopeFactor + smooth * frequency;
    }

    private double[] Mlp(string name, double[] x)
    {
        double[] gate = Project(name + ".gate_proj", config.MlpBias, x), up = Project(name + ".up_proj", config.MlpBias, x);
        return Project(name + ".down_proj", config.MlpBias, [.. gate.Zip(up, (g, u) => g / (1 + Math.Exp(-g)) * u)]);
    }

    private double[] Norm(double[] x, string name)
    {
        double scale = 1 / Math.Sqrt(x.Average(value => value * value) + config.RmsNormEpsilon);
        double[] weight = Tensor(name);
        return [.. x.Select((value, i) => value * scale * weight[i])];
    }

    private double[] Project(string name, bool bias, double[] x)
    {
        double[] result = Multiply(Tensor(name + ".weight"), x);
        if (!bias) return result;
        double[] offset = Tensor(name + ".bias");
        return [.. result.Select((value, i) => value + offset[i])];
    }

    private static double[] Multiply(double[] matrix, double[] x)
    {
        var result = new double[matrix.Length / x.Length];
        for (int row = 0; row < result.Length; row++) result[row] = Dot(matrix.AsSpan(row * x.Length, x.Length), x);
        return result;
    }

    private static double Dot(ReadOnlySpan<double> a, ReadOnlySpan<double> b)
    {
        double sum = 0;
        for (int i = 0; i < a.Length; i++) sum += a[i] * b[i];
        return sum;
    }

    private static void AddTo(double[][] stream, double[][] x)
    {
        for (int token = 0; token < stream.Length; token++)
            for (int i = 0; i < x[token].Length; i++) stream[token][i] += x[token][i];
    }

    private double[] Tensor(string name) => _weights.TryGetValue(name, out double[]? tensor) ? tensor : _weights[name] = weights(name);
}
