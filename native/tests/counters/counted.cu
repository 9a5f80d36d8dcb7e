// counted.cu - kernels so small that their work can be counted by hand; EmulatorCountersTests.cs does.

#include "kf/kf.cuh"

struct CountedArgs {  // mirrored by CountedArgs in EmulatorCountersTests.cs
    const float* input;
    float* output;
    int stride;  // in floats
};

// Every thread copies one float; neighbours are `stride` apart in the input and side by side in the output.
extern "C" __global__ void count_copy(const __grid_constant__ CountedArgs args) {
    int thread = blockIdx.x * blockDim.x + threadIdx.x;
    args.output[thread] = args.input[thread * args.stride];
}

// Every thread copies 16 bytes.
extern "C" __global__ void count_copy_vectors(const __grid_constant__ CountedArgs args) {
    int thread = blockIdx.x * blockDim.x + threadIdx.x;
    ((float4*)args.output)[thread] = ((const float4*)args.input)[thread];
}

// One warp writes a float each to shared memory, `stride` apart, and reads it back after a barrier.
extern "C" __global__ void count_shared(const __grid_constant__ CountedArgs args) {
    extern __shared__ float tile[];
    tile[threadIdx.x * args.stride] = args.input[threadIdx.x];
    __syncthreads();
    args.output[threadIdx.x] = tile[threadIdx.x * args.stride];
}

// Three tensor-core instructions for every warp, and two additions to one counter for every thread.
extern "C" __global__ void count_mma_and_atomics(const __grid_constant__ CountedArgs args) {
    float sum[4] = {};
    uint32_t a[4] = {};
#pragma unroll
    for (int i = 0; i < 3; i++) mma_m16n8k16<half>(sum, a, 0, 0);
    atomicAdd((int*)args.output + 1, 1);
    atomicAdd((int*)args.output + 1, 1);
    if (threadIdx.x == 0 && blockIdx.x == 0) args.output[0] = sum[0];
}
