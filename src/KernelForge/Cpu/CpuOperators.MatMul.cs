namespace KernelForge.Cpu;

internal sealed unsafe partial class CpuOperators
{
    private const long ProductsPerPart = 256 * 1024; // about ten microseconds; less is done before another thread has started

    protected override void MatMulCore(in DeviceMatrix x, in DeviceMatrix weights, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual)
    {
        switch (weights.DType)
        {
            case DType.F32: MatMul<float>(x, weights, result, bias, residual); break;
            case DType.F16: MatMul<Half>(x, weights, result, bias, residual); break;
            default: MatMul<BFloat16>(x, weights, result, bias, residual); break;
        }
    }

    private void MatMul<T>(in DeviceMatrix x, in DeviceMatrix weights, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual) where T : unmanaged
    {
        switch (instructionSet)
        {
            case CpuInstructionSet.Vector512: MatMul<Lanes512, MatMulTile512, T>(x, weights, result, bias, residual); break;
            case CpuInstructionSet.Vector256: MatMul<Lanes256, MatMulTile256, T>(x, weights, result, bias, residual); break;
            default: MatMul<LanesScalar, MatMulTileScalar, T>(x, weights, result, bias, residual); break;
        }
    }

    private void MatMul<TLanes, TTile, T>(in DeviceMatrix x, in DeviceMatrix weights, in DeviceMatrix result, in DeviceMatrix bias, in DeviceMatrix residual)
        where TLanes : struct, ILanes<TLanes> where TTile : struct, IMatMulTile where T : unmanaged
    {
        var work = new MatMulWork<TLanes, TTile, T>(threads, x, weights, result, bias, residual);
        long products = (long)result.Rows * result.Columns * x.Columns;
        threads.Run(ref work, (int)Math.Min(work.Units, Math.Max(1, products / ProductsPerPart)));
    }
}
