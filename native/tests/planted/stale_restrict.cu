// stale_restrict.cu - a word that the block writes, read through a pointer that promises that nobody does.
//
// The compiler may then keep the first value, and does. Nothing is reported: the result is the old value, as on a GPU. A program compiled
// for the host shows the new one.

#include "planted.cuh"

constexpr int THREADS = 64;

__device__ __forceinline__ void read_twice_trusting(const int* __restrict__ word, int* same_word, int* __restrict__ output) {
    int before = *word;
    __syncthreads();
    if (threadIdx.x == THREADS - 1) *same_word = before + 100;
    __syncthreads();
    output[threadIdx.x] = *word - before;
}

KF_INLINE void read_twice(const int* word, int* same_word, int* output) {
    int before = *word;
    __syncthreads();
    if (threadIdx.x == THREADS - 1) *same_word = before + 100;
    __syncthreads();
    output[threadIdx.x] = *word - before;
}

extern "C" __global__ void stale_restrict_bug(const __grid_constant__ PlantedArgs args) { read_twice_trusting(args.scratch, args.scratch, args.output); }
extern "C" __global__ void stale_restrict(const __grid_constant__ PlantedArgs args) { read_twice(args.scratch, args.scratch, args.output); }
