namespace KernelForge.Inference;

/// <summary>
/// Calibration texts on their way through a model, layer by layer: holds the hidden states of all tokens before a layer, gathers the Hessians of its
/// inputs, and takes the states through the layer as it was quantised, so that each layer sees the errors of those before it.
/// </summary>
internal sealed class Calibration : IDisposable
{
    private readonly Device _device;
    private readonly ModelConfig _config;
    private readonly DType _computeType;
    private readonly int[][] _texts;
    private readonly byte[][] _states; // by text: [tokens, hidden size]
    private readonly SequencePass _pass;
    private readonly DeviceBuffer _angles;

    /// <param name="device">Where to compute.</param>
    /// <param name="folder">The model.</param>
    /// <param name="config">Its shape.</param>
    /// <param name="computeType">Type of the activations.</param>
    /// <param name="texts">Token ids, at least one text and none empty.</param>
    /// <param name="cancellation">Ends the loading of the embeddings.</param>
    public Calibration(Device device, string folder, ModelConfig config, DType computeType, IReadOnlyList<int[]> texts, CancellationToken cancellation)
    {
        (_device, _config, _computeType, _texts) = (device, config, computeType, [.. texts]);
        int longest = texts.Max(text => text.Length);
        _states = new byte[_texts.Length][];
        _angles = RopeAngles.Create(device, config, longest);
        SequencePass? pass = null;
        try
        {
            _pass = pass = new SequencePass(device, config, computeType, layers: 1, longest, longest, LayerScratch.Bytes(config, computeType, longest));
            Embed(folder, cancellation);
        }
        catch
        {
            pass?.Dispose();
            _angles.Dispose();
            throw;
        }
    }

    /// <summary>Tokens of all texts.</summary>
    public long Tokens => _texts.Sum(text => (long)text.Length);

    /// <summary>The sums of x · xᵀ over all tokens for each of the layer's inputs. The hidden states stay.</summary>
    public IReadOnlyDictionary<LinearInput, float[,]> Observe(TransformerLayer layer, CancellationToken cancellation)
    {
        using var observer = new Observer(_device, LinearMap.Of(_config, 0));
        for (int text = 0; text < _texts.Length; text++)
        {
            cancellation.ThrowIfCancellationRequested();
            Run(layer, text, observer);
        }
        return observer.Sums();
    }

    /// <summary>Takes the hidden states through a layer.</summary>
    public void Advance(TransformerLayer layer, CancellationToken cancellation)
    {
        for (int text = 0; text < _texts.Length; text++)
        {
            cancellation.ThrowIfCancellationRequested();
            Run(layer, text, observer: null).CopyTo(_states[text]);
        }
    }

    public void Dispose()
    {
        _pass.Dispose();
        _angles.Dispose();
    }

    /// <summary>What becomes of a text's hidden states in a layer; valid until the next run.</summary>
    private DeviceMatrix Run(TransformerLayer layer, int text, Observer? observer)
    {
        StepBatch batch = _pass.Batch(_texts[text], 0, _texts[text].Length);
        LayerScratch scratch = LayerScratch.Take(_pass.Arena, _config, _computeType, _texts[text].Length);
        scratch.Residual.CopyFrom(_states[text]);
        DeviceMatrix angles = _angles.AsMatrix((int)(_angles.Length / _config.HeadDim), _config.HeadDim);
        layer.Apply(_device.Operators, batch, _pass.Cache.Layer(0), angles, scratch, observer);
        return scratch.Residual;
    }

    private void Embed(string folder, CancellationToken cancellation)
    {
        using var weights = new ModelWeights(_device, new Checkpoint(folder), null, _computeType, null, cancellation);
        DeviceMatrix embedding = weights.Load("model.embed_tokens.weight", _config.VocabularySize, _config.HiddenSize);
        for (int text = 0; text < _texts.Length; text++)
        {
            StepBatch batch = _pass.Batch(_texts[text], 0, _texts[text].Length);
            DeviceMatrix states = _pass.Arena.Matrix(_computeType, _texts[text].Length, _config.HiddenSize);
            _device.Operators.Embed(batch.TokenIds, embedding, states);
            _states[text] = new byte[checked(states.Rows * states.Columns * _computeType.Size())];
            states.CopyTo(_states[text]);
        }
    }

    /// <summary>One Hessian for each input.</summary>
    private sealed class Observer : ILinearObserver, IDisposable
    {
        private readonly Dictionary<LinearInput, Hessian> _hessians = [];

        public Observer(Device device, IReadOnlyList<LinearMap> maps)
        {
            foreach (LinearMap map in maps)
                if (!_hessians.ContainsKey(map.Input)) _hessians.Add(map.Input, new Hessian(device, map.Inputs));
        }

        public void Observe(LinearInput input, in DeviceMatrix x) => _hessians[input].Add(x);

        public Dictionary<LinearInput, float[,]> Sums() => _hessians.ToDictionary(pair => pair.Key, pair => pair.Value.ToArray());

        public void Dispose()
        {
            foreach (Hessian hessian in _hessians.Values) hessian.Dispose();
        }
    }
}
