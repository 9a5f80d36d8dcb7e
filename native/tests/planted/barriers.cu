// barriers.cu - threads that do not wait for each other, wait for different things, or wait for ever.

#include "planted.cuh"

constexpr int THREADS = 64;

// Every thread reads what a thread of the other warp wrote.
template <bool FIXED> KF_INLINE void missing_barrier_body(const PlantedArgs& args) {
    __shared__ int tile[THREADS];
    tile[threadIdx.x] = args.input[threadIdx.x];
    if constexpr (FIXED) __syncthreads();
    args.output[threadIdx.x] = tile[THREADS - 1 - threadIdx.x];  // planted: missing_barrier
}

// The same between the lanes of one warp, which a GPU need not run in step.
template <bool FIXED> KF_INLINE void missing_syncwarp_body(const PlantedArgs& args) {
    __shared__ int tile[THREADS];
    tile[threadIdx.x] = args.input[threadIdx.x];
    if constexpr (FIXED) __syncwarp();
    args.output[threadIdx.x] = tile[threadIdx.x ^ 31];  // planted: missing_syncwarp
}

// A tile that is used twice: the second round may overwrite what the other warp still reads.
template <bool FIXED> KF_INLINE void write_after_read_body(const PlantedArgs& args) {
    __shared__ int tile[THREADS];
    int sum = 0;
#pragma unroll 1
    for (int round = 0; round < 2; round++) {
        tile[threadIdx.x] = args.input[threadIdx.x] + round;  // planted: write_after_read
        __syncthreads();
        sum += tile[THREADS - 1 - threadIdx.x];  // planted: write_after_read
        if constexpr (FIXED) __syncthreads();
    }
    args.output[threadIdx.x] = sum;
}

KF_INLINE void named_barrier(int id, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory"); }

// Each warp waits at another barrier for the whole block.
template <bool FIXED> KF_INLINE void barrier_deadlock_body(const PlantedArgs& args) {
    named_barrier(FIXED ? 1 : 1 + warp_id(), THREADS);  // planted: barrier_deadlock
    args.output[threadIdx.x] = args.input[threadIdx.x];
}

// A flag that nobody sets.
template <bool FIXED> KF_INLINE void infinite_loop_body(const PlantedArgs& args) {
    volatile int* flag = args.scratch + threadIdx.x;
    if constexpr (FIXED) *flag = 1;
    while (*flag == 0) {  // planted: infinite_loop
    }
    args.output[threadIdx.x] = args.input[threadIdx.x];
}

// The lower half of a warp asks for values of all lanes; the upper half waits elsewhere.
template <bool FIXED> KF_INLINE void divergent_shuffle_body(const PlantedArgs& args) {
    int value = args.input[threadIdx.x];
    if (FIXED || lane_id() < 16) value = __shfl_xor_sync(ALL_LANES, value, 1);  // planted: divergent_shuffle
    __syncwarp();
    args.output[threadIdx.x] = value;
}

// Lanes 16 to 31 take part in an exchange whose mask leaves them out.
template <bool FIXED> KF_INLINE void lane_outside_mask_body(const PlantedArgs& args) {
    int value = args.input[threadIdx.x];
    args.output[threadIdx.x] = __shfl_xor_sync(FIXED ? ALL_LANES : 0x0000ffff, value, 1);  // planted: lane_outside_mask
}

extern "C" __global__ void missing_barrier_bug(const __grid_constant__ PlantedArgs args) { missing_barrier_body<false>(args); }
extern "C" __global__ void missing_barrier(const __grid_constant__ PlantedArgs args) { missing_barrier_body<true>(args); }
extern "C" __global__ void missing_syncwarp_bug(const __grid_constant__ PlantedArgs args) { missing_syncwarp_body<false>(args); }
extern "C" __global__ void missing_syncwarp(const __grid_constant__ PlantedArgs args) { missing_syncwarp_body<true>(args); }
extern "C" __global__ void write_after_read_bug(const __grid_constant__ PlantedArgs args) { write_after_read_body<false>(args); }
extern "C" __global__ void write_after_read(const __grid_constant__ PlantedArgs args) { write_after_read_body<true>(args); }
extern "C" __global__ void barrier_deadlock_bug(const __grid_constant__ PlantedArgs args) { barrier_deadlock_body<false>(args); }
extern "C" __global__ void barrier_deadlock(const __grid_constant__ PlantedArgs args) { barrier_deadlock_body<true>(args); }
extern "C" __global__ void infinite_loop_bug(const __grid_constant__ PlantedArgs args) { infinite_loop_body<false>(args); }
extern "C" __global__ void infinite_loop(const __grid_constant__ PlantedArgs args) { infinite_loop_body<true>(args); }
extern "C" __global__ void divergent_shuffle_bug(const __grid_constant__ PlantedArgs args) { divergent_shuffle_body<false>(args); }
extern "C" __global__ void divergent_shuffle(const __grid_constant__ PlantedArgs args) { divergent_shuffle_body<true>(args); }
extern "C" __global__ void lane_outside_mask_bug(const __grid_constant__ PlantedArgs args) { lane_outside_mask_body<false>(args); }
extern "C" __global__ void lane_outside_mask(const __grid_constant__ PlantedArgs args) { lane_outside_mask_body<true>(args); }
