// argmax.cu - the column of the largest element of every row.
//
// Why      Greedy decoding.
//
// Math     result[row] = the lowest column whose element is largest. NaN never wins; a row of NaN gives 0.
//
// Shapes   logits   [rows, columns]   T, rows stride apart; columns > 0
//          result   [rows]            int
//
// Tiling   One block per row. An element and its column are one whole number (token_order.cuh); the least of them is
//          the answer in whatever order it is found.
//
// Cost     Memory bound: rows * columns * sizeof(T) bytes.

#include "kf/kf.cuh"

constexpr int THREADS = 256;  // CudaOperators.ArgMax.cs uses the same number

template <class T> struct ArgMaxArgs {  // mirrored by ArgMaxArgs in C#
    const T* logits;
    int* result;
    int columns;
    int stride;
};

template <class T> KF_INLINE void argmax(const ArgMaxArgs<T>& args) {
    __shared__ BlockRoom<THREADS / WARP> room;
    TokenKey likeliest = likeliest_key(args.logits + (size_t)blockIdx.x * args.stride, args.columns, room);
    if (threadIdx.x == 0) args.result[blockIdx.x] = id_of(likeliest);
}

extern "C" __global__ void __launch_bounds__(THREADS) argmax_f16(const __grid_constant__ ArgMaxArgs<half> args) { argmax(args); }
extern "C" __global__ void __launch_bounds__(THREADS) argmax_bf16(const __grid_constant__ ArgMaxArgs<bf16> args) { argmax(args); }
extern "C" __global__ void __launch_bounds__(THREADS) argmax_f32(const __grid_constant__ ArgMaxArgs<float> args) { argmax(args); }
