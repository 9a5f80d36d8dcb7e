// blocks.cu - blocks of one launch that meet at a word.

#include "planted.cuh"

// Every block writes the same words.
template <bool FIXED> KF_INLINE void two_blocks_one_word_body(const PlantedArgs& args) {
    int first = FIXED ? blockIdx.x * blockDim.x : 0;
    args.output[first + threadIdx.x] = args.input[first + threadIdx.x];  // planted: two_blocks_one_word
}

// Every thread counts itself.
template <bool FIXED> KF_INLINE void non_atomic_counter_body(const PlantedArgs& args) {
    if constexpr (FIXED)
        atomicAdd(args.scratch, 1);
    else
        *args.scratch = *args.scratch + 1;  // planted: non_atomic_counter
    args.output[blockIdx.x * blockDim.x + threadIdx.x] = args.input[blockIdx.x * blockDim.x + threadIdx.x];
}

extern "C" __global__ void two_blocks_one_word_bug(const __grid_constant__ PlantedArgs args) { two_blocks_one_word_body<false>(args); }
extern "C" __global__ void two_blocks_one_word(const __grid_constant__ PlantedArgs args) { two_blocks_one_word_body<true>(args); }
extern "C" __global__ void non_atomic_counter_bug(const __grid_constant__ PlantedArgs args) { non_atomic_counter_body<false>(args); }
extern "C" __global__ void non_atomic_counter(const __grid_constant__ PlantedArgs args) { non_atomic_counter_body<true>(args); }
