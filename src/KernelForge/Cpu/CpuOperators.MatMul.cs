namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    private const long ProductsPerPart = 256 * 1024; // about ten microseconds; less is done before another thread has started

    protected override void MatMulCore(in DeviceMatrix x, in DeviceMatrix weights, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual)
    {
        var product = new Dense(x, new DensePanels(weights), weights.DType, weights.Rows, IsGated: false, ActivationPrecision.Full);
        MatMul(product, result, bias, residual);
    }

    protected override void MatMulCore(
        in DeviceMatrix x, DenseWeights weights, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual, ActivationPrecision activations)
    {
        if (TakesLibrary(x, weights, activations))
        {
            var epilogue = new Epilogue<Lanes512>(result, bias, residual);
            Multiply(new NativeBf16Product<Lanes512>(library!, x, weights), x.Rows, weights.N, weights.K, weights.IsGated, epilogue);
            return;
        }
        var product = new Dense(x, new DensePanels(weights), weights.DType, weights.N, weights.IsGated, activations);
        MatMul(product, result, bias, residual);
    }

    /// <summary>Whether both factors are BF16, and the library multiplies them.</summary>
    private bool TakesLibrary(in DeviceMatrix x, DenseWeights weights, ActivationPrecision activations) =>
        weights.DType == DType.BF16 && (x.DType == DType.BF16 || activations == ActivationPrecision.BF16) && library is not null && library.Bf16Panels != null;

    private void MatMul(in Dense dense, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual)
    {
        switch (instructionSet)
        {
            case CpuInstructionSet.Vector512: MatMul<Lanes512>(dense, result, bias, residual); break;
            case CpuInstructionSet.Vector256: MatMul<Lanes256>(dense, result, bias, residual); break;
            default: MatMul<LanesScalar>(dense, result, bias, residual); break;
        }
    }

    /// <summary>Chooses the product: by type of the weights.</summary>
    private void MatMul<TLanes>(in Dense dense, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual) where TLanes : struct, ILanes<TLanes>
    {
        var epilogue = new Epilogue<TLanes>(result, bias, residual);
        switch (dense.Type)
        {
            case DType.F32: Multiply<TLanes, float>(dense, epilogue); break;
            case DType.BF16: Multiply<TLanes, BFloat16>(dense, epilogue); break;
            case DType.F16 when dense.Panels.AreFiniteHalves: Multiply<TLanes, FiniteHalf>(dense, epilogue); break;
            default: Multiply<TLanes, Half>(dense, epilogue); break;
        }
    }

    private void Multiply<TLanes, TWeight>(in Dense dense, in Epilogue<TLanes> epilogue) where TLanes : struct, ILanes<TLanes> where TWeight : unmanaged =>
        Multiply(new DenseProduct<TLanes, TWeight>(dense.X, dense.Panels, dense.Activations), dense.X.Rows, dense.N, dense.X.Columns, dense.IsGated, epilogue);

    /// <summary>Computes a product of so many rows, outputs and k, in as many parts as it pays for.</summary>
    private void Multiply<TLanes, TProduct>(in TProduct product, int rows, int n, int k, bool isGated, in Epilogue<TLanes> epilogue)
        where TLanes : struct, ILanes<TLanes> where TProduct : struct, IPanelProduct
    {
        int parts = (int)Math.Min((long)rows * n * k / ProductsPerPart, threads.Count);
        var work = new PanelWork<TLanes, TProduct>(threads, product, rows, n, isGated, epilogue, parts);
        work.Run();
    }

    /// <summary>Operands of a dense product.</summary>
    private readonly record struct Dense(DeviceMatrix X, DensePanels Panels, DType Type, int N, bool IsGated, ActivationPrecision Activations);
}
