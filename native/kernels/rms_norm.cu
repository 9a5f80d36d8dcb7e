// rms_norm.cu - root-mean-square normalisation of rows.
//
// Why      The step in front of every attention and MLP. Zhang and Sennrich, arXiv:1910.07467.
//
// Math     result = x / sqrt(mean(x^2) + epsilon) * weight
//
// Shapes   x, result   [rows, columns]   T, each with its own row stride
//          weight      [columns]         T
//          result may be x.
//
// Tiling   One block per row. Thread t owns the vectors t, t + 256, ... of eight elements. Sums are fixed: a thread's
//          elements in ascending order, then the lanes of a warp, then the warps. A row's bits depend on nothing but
//          the row.
//
// Cost     Memory bound: 2 * rows * columns * sizeof(T) bytes; the second reading of a row finds it in the cache.

#include "kf/kf.cuh"

constexpr int THREADS = 256;  // CudaOperators.RmsNorm.cs uses the same number

template <class T> struct RmsNormArgs {  // mirrored by RmsNormArgs in C#
    const T* x;
    const T* weight;
    T* result;
    int columns;
    int x_stride;
    int result_stride;
    float epsilon;
};

template <class T> KF_INLINE void rms_norm(const RmsNormArgs<T>& args) {
    const T* x = args.x + (size_t)blockIdx.x * args.x_stride;
    T* result = args.result + (size_t)blockIdx.x * args.result_stride;
    bool x_is_aligned = rows_are_aligned(args.x, args.x_stride), result_is_aligned = rows_are_aligned(args.result, args.result_stride);

    float squares = 0.0f;
    for (int start = threadIdx.x * PER_VECTOR<T>; start < args.columns; start += THREADS * PER_VECTOR<T>)
        squares = add_squares(squares, load_elements(x, start, args.columns, x_is_aligned));
    normalize<THREADS>(x, x_is_aligned, squares, args.weight, args.epsilon, result, result_is_aligned, args.columns);
}

extern "C" __global__ void __launch_bounds__(THREADS) rms_norm_f16(const __grid_constant__ RmsNormArgs<half> args) { rms_norm(args); }
extern "C" __global__ void __launch_bounds__(THREADS) rms_norm_bf16(const __grid_constant__ RmsNormArgs<bf16> args) { rms_norm(args); }
