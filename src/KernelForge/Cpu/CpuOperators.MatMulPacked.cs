namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    protected override void MatMulPackedCore(
        in DeviceMatrix x, PackedWeights weights, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual)
    {
        switch (weights.Format)
        {
            case { Bits: 4, HasZeroPoints: false }: MatMulPacked<Codes4<NoZeros>>(x, weights, result, bias, residual); break;
            case { Bits: 4 }: MatMulPacked<Codes4<GroupZeros>>(x, weights, result, bias, residual); break;
            case { HasZeroPoints: false }: MatMulPacked<Codes8<NoZeros>>(x, weights, result, bias, residual); break;
            default: MatMulPacked<Codes8<GroupZeros>>(x, weights, result, bias, residual); break;
        }
    }

    private void MatMulPacked<TCodes>(in DeviceMatrix x, PackedWeights weights, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual)
        where TCodes : struct, IPackedCodes
    {
        switch (instructionSet)
        {
            case CpuInstructionSet.Vector512: MatMulPacked<Lanes512, TCodes>(x, weights, result, bias, residual); break;
            case CpuInstructionSet.Vector256: MatMulPacked<Lanes256, TCodes>(x, weights, result, bias, residual); break;
            default: MatMulPacked<LanesScalar, TCodes>(x, weights, result, bias, residual); break;
        }
    }

    private void MatMulPacked<TLanes, TCodes>(in DeviceMatrix x, PackedWeights weights, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual)
        where TLanes : struct, ILanes<TLanes> where TCodes : struct, IPackedCodes
    {
        var work = new PackedMatMulWork<TLanes, TCodes>(threads, x, weights, result, bias, residual);
        long products = (long)x.Rows * weights.N * weights.K;
        threads.Run(ref work, (int)Math.Min(work.Units, Math.Max(1, products / ProductsPerPart)));
    }
}
