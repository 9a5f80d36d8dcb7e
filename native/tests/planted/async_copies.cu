// async_copies.cu - data that is used before its copy has come.

#include "planted.cuh"

constexpr int THREADS = 32;

struct Tiles {
    alignas(16) int first[THREADS * 4];
    alignas(16) int second[THREADS * 4];
};

KF_INLINE void start_copy(int* tile, const int* source) {
    cp_async_16(shared_address(tile + 4 * threadIdx.x), source + 4 * threadIdx.x);
    cp_async_commit();
}

// Nothing waits for the copy; every thread reads its own 16 bytes.
template <bool FIXED> KF_INLINE void missing_copy_wait_body(const PlantedArgs& args) {
    __shared__ Tiles tiles;
    start_copy(tiles.first, args.input);
    if constexpr (FIXED) cp_async_wait<0>();
    args.output[threadIdx.x] = tiles.first[4 * threadIdx.x + 1];  // planted: missing_copy_wait
}

// Two groups are under way, one may still be pending after the wait, and the second is read.
template <bool FIXED> KF_INLINE void miscounted_copy_wait_body(const PlantedArgs& args) {
    __shared__ Tiles tiles;
    start_copy(tiles.first, args.input);
    start_copy(tiles.second, args.input + THREADS * 4);
    cp_async_wait<FIXED ? 0 : 1>();
    int sum = tiles.first[4 * threadIdx.x];
    args.output[threadIdx.x] = sum + tiles.second[4 * threadIdx.x];  // planted: miscounted_copy_wait
}

// Every thread waits for its own copies, and nobody for those of the others.
template <bool FIXED> KF_INLINE void copy_without_barrier_body(const PlantedArgs& args) {
    __shared__ Tiles tiles;
    start_copy(tiles.first, args.input);
    cp_async_wait<0>();
    if constexpr (FIXED) __syncthreads();
    args.output[threadIdx.x] = tiles.first[4 * (THREADS - 1 - threadIdx.x)];  // planted: copy_without_barrier
}

extern "C" __global__ void missing_copy_wait_bug(const __grid_constant__ PlantedArgs args) { missing_copy_wait_body<false>(args); }
extern "C" __global__ void missing_copy_wait(const __grid_constant__ PlantedArgs args) { missing_copy_wait_body<true>(args); }
extern "C" __global__ void miscounted_copy_wait_bug(const __grid_constant__ PlantedArgs args) { miscounted_copy_wait_body<false>(args); }
extern "C" __global__ void miscounted_copy_wait(const __grid_constant__ PlantedArgs args) { miscounted_copy_wait_body<true>(args); }
extern "C" __global__ void copy_without_barrier_bug(const __grid_constant__ PlantedArgs args) { copy_without_barrier_body<false>(args); }
extern "C" __global__ void copy_without_barrier(const __grid_constant__ PlantedArgs args) { copy_without_barrier_body<true>(args); }
