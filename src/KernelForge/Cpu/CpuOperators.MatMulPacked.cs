namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    protected override void MatMulPackedCore(
        in DeviceMatrix x, PackedWeights weights, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual, ActivationPrecision activations)
    {
        var packed = new Packed(x, weights, activations);
        switch (instructionSet)
        {
            case CpuInstructionSet.Vector512: MatMulPacked<Lanes512, CodeSums512>(packed, new Epilogue<Lanes512>(result, bias, residual)); break;
            case CpuInstructionSet.Vector256: MatMulPacked<Lanes256, CodeSums256>(packed, new Epilogue<Lanes256>(result, bias, residual)); break;
            default: MatMulPacked<LanesScalar, CodeSumsScalar>(packed, new Epilogue<LanesScalar>(result, bias, residual)); break;
        }
    }

    /// <summary>Chooses the product: by codes of the weights.</summary>
    private void MatMulPacked<TLanes, TSums>(in Packed packed, in Epilogue<TLanes> epilogue)
        where TLanes : struct, ILanes<TLanes> where TSums : struct, ICodeSums<TSums>
    {
        switch (packed.Weights.Format)
        {
            case { Bits: 4, HasZeroPoints: false }: MatMulPacked<TLanes, TSums, Codes4<NoZeros>>(packed, epilogue); break;
            case { Bits: 4 }: MatMulPacked<TLanes, TSums, Codes4<GroupZeros>>(packed, epilogue); break;
            case { HasZeroPoints: false }: MatMulPacked<TLanes, TSums, Codes8<NoZeros>>(packed, epilogue); break;
            default: MatMulPacked<TLanes, TSums, Codes8<GroupZeros>>(packed, epilogue); break;
        }
    }

    /// <summary>Chooses the product: by what x is rounded to.</summary>
    private void MatMulPacked<TLanes, TSums, TCodes>(in Packed packed, in Epilogue<TLanes> epilogue)
        where TLanes : struct, ILanes<TLanes> where TSums : struct, ICodeSums<TSums> where TCodes : struct, IPackedCodes
    {
        if (packed.Activations != ActivationPrecision.Int8) Multiply(new PackedProduct<TLanes, TCodes>(packed.X, packed.Weights, packed.Activations), packed, epilogue);
        else if (library is not null && library.Int8Panels != null) Multiply(new NativeInt8Product<TLanes>(library, packed.X, packed.Weights), packed, epilogue);
        else Multiply(new Int8Product<TLanes, TSums, TCodes>(packed.X, packed.Weights), packed, epilogue);
    }

    private void Multiply<TLanes, TProduct>(in TProduct product, in Packed packed, in Epilogue<TLanes> epilogue)
        where TLanes : struct, ILanes<TLanes> where TProduct : struct, IPanelProduct =>
        Multiply(product, packed.X.Rows, packed.Weights.N, packed.Weights.K, packed.Weights.IsGated, epilogue);

    /// <summary>Operands of a product with packed weights.</summary>
    private readonly record struct Packed(DeviceMatrix X, PackedWeights Weights, ActivationPrecision Activations);
}
