// gather.cu - whole numbers by index.
//
// Why      Tokens that only the device knows, such as drafted ones, find their places in a batch.
//
// Math     result[i] = values[indices[i]]; a negative index leaves result[i] as it is
//
// Shapes   values    [any]     int
//          indices   [count]   int
//          result    [count]   int
//
// Tiling   One thread per result.
//
// Limits   An index behind the last value reads behind it.
//
// Cost     Launch bound: 12 * count bytes.

#include "kf/kf.cuh"

constexpr int THREADS = 256;  // CudaOperators.Gather.cs uses the same number

struct GatherArgs {  // mirrored by GatherArgs in C#
    const int* values;
    const int* indices;
    int* result;
    int count;
    int padding;
};

extern "C" __global__ void __launch_bounds__(THREADS) gather_i32(const __grid_constant__ GatherArgs args) {
    int i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= args.count) return;
    int index = args.indices[i];
    if (index >= 0) args.result[i] = args.values[index];
}
