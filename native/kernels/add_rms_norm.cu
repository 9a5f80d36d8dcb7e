// add_rms_norm.cu - add to the residual stream and normalise the sum.
//
// Why      The step between two layers: x, the output of one, joins the stream, and the next one reads the normalised
//          stream. One kernel saves a pass over the stream. Zhang and Sennrich, arXiv:1910.07467.
//
// Math     residual += x, rounded to T; result = residual / sqrt(mean(residual^2) + epsilon) * weight
//
// Shapes   x, residual, result   [rows, columns]   T, each with its own row stride
//          weight                [columns]         T
//          result may be x.
//
// Tiling   One block per row. Thread t owns the vectors t, t + 256, ... of eight elements, so it reads again only what
//          it wrote. Sums are fixed: a thread's elements in ascending order, then the lanes of a warp, then the warps.
//          A row's bits depend on nothing but the row.
//
// Cost     Memory bound: 4 * rows * columns * sizeof(T) bytes; the second reading of a row finds it in the cache.

#include "kf/kf.cuh"

constexpr int THREADS = 256;  // CudaOperators.RmsNorm.cs uses the same number

template <class T> struct AddRmsNormArgs {  // mirrored by AddRmsNormArgs in C#
    const T* x;
    T* residual;
    const T* weight;
    T* result;
    int columns;
    int x_stride;
    int residual_stride;
    int result_stride;
    float epsilon;
};

// x + y, rounded to T.
template <class T> KF_INLINE Vector<T> add(const Vector<T>& x, const Vector<T>& y) {
    Vector<T> sum;
#pragma unroll
    for (int i = 0; i < PER_VECTOR<T>; i++) sum[i] = from_float<T>(__fadd_rn(to_float(x[i]), to_float(y[i])));
    return sum;
}

template <class T> KF_INLINE void add_rms_norm(const AddRmsNormArgs<T>& args) {
    const T* x = args.x + (size_t)blockIdx.x * args.x_stride;
    T* residual = args.residual + (size_t)blockIdx.x * args.residual_stride;
    T* result = args.result + (size_t)blockIdx.x * args.result_stride;
    bool x_is_aligned = rows_are_aligned(args.x, args.x_stride), result_is_aligned = rows_are_aligned(args.result, args.result_stride);
    bool residual_is_aligned = rows_are_aligned(args.residual, args.residual_stride);

    float squares = 0.0f;
    for (int start = threadIdx.x * PER_VECTOR<T>; start < args.columns; start += THREADS * PER_VECTOR<T>) {
        Vector<T> sum = add(load_elements(residual, start, args.columns, residual_is_aligned), load_elements(x, start, args.columns, x_is_aligned));
        store_elements(residual, start, args.columns, residual_is_aligned, sum);
        squares = add_squares(squares, sum);
    }
    normalize<THREADS>(residual, residual_is_aligned, squares, args.weight, args.epsilon, result, result_is_aligned, args.columns);
}

extern "C" __global__ void __launch_bounds__(THREADS) add_rms_norm_f16(const __grid_constant__ AddRmsNormArgs<half> args) { add_rms_norm(args); }
extern "C" __global__ void __launch_bounds__(THREADS) add_rms_norm_bf16(const __grid_constant__ AddRmsNormArgs<bf16> args) { add_rms_norm(args); }
