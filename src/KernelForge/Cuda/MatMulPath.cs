namespace KernelForge.Cuda;

/// <summary>Which kernels compute products. All of them give the same bits.</summary>
internal enum MatMulPath
{
    /// <summary>The fastest for the number of rows and the device.</summary>
    Auto,

    /// <summary>The readable definition: matmul.cu, matmul_packed.cu.</summary>
    Simple,

    /// <summary>narrow_matmul.cu; more than 64 rows in slices.</summary>
    Narrow,

    /// <summary>wide_matmul.cu.</summary>
    Wide,

    /// <summary>wide_matmul_wgmma.cu.</summary>
    Warpgroups,
}
