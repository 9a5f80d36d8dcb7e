// gather_columns.cu - columns of a matrix in another order.
//
// Why      Quantised weights may be stored in an order of their own along k (activation order). Taking the columns of x in that order once leaves the products
//          without any notion of it.
//
// Math     result[row][j] = x[row][order[j]]
//
// Shapes   x       [rows, columns]  16-bit elements of any kind, rows x_stride apart
//          order   [columns]        a permutation
//          result  [rows, columns]  rows result_stride apart
//
// Tiling   A thread writes one element; grid = (ceil(columns / 256), rows). The reads of a row are scattered, but a row stays in the cache.
//
// Limits   None.
//
// Cost     8 * rows * columns bytes, half of them the order.

#include "kf/kf.cuh"

constexpr int THREADS = 256;  // CudaOperators.GatherColumns.cs uses the same number

struct GatherColumnsArgs {  // mirrored by GatherColumnsArgs in C#
    const uint16_t* x;
    const int* order;
    uint16_t* result;
    int columns;
    int x_stride, result_stride;
    int padding;
};

KF_INLINE void gather_columns(const GatherColumnsArgs& args) {
    int column = blockIdx.x * THREADS + threadIdx.x;
    if (column >= args.columns) return;
    args.result[(size_t)blockIdx.y * args.result_stride + column] = args.x[(size_t)blockIdx.y * args.x_stride + args.order[column]];
}

extern "C" __global__ void __launch_bounds__(THREADS) gather_columns_f16(const __grid_constant__ GatherColumnsArgs args) { gather_columns(args); }
extern "C" __global__ void __launch_bounds__(THREADS) gather_columns_bf16(const __grid_constant__ GatherColumnsArgs args) { gather_columns(args); }
