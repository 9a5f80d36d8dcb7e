// addresses.cu - reads and writes where nothing is, or nothing has been written.

#include "planted.cuh"

constexpr int THREADS = 64;

// The last thread writes one word behind its buffer.
template <bool FIXED> KF_INLINE void global_past_end_body(const PlantedArgs& args) {
    args.output[threadIdx.x + (FIXED ? 0 : 1)] = args.input[threadIdx.x];  // planted: global_past_end
}

// The first thread writes one word before its buffer.
template <bool FIXED> KF_INLINE void global_before_start_body(const PlantedArgs& args) {
    args.output[(int)threadIdx.x - (FIXED ? 0 : 1)] = args.input[threadIdx.x];  // planted: global_before_start
}

// The last thread reads one word behind its buffer.
template <bool FIXED> KF_INLINE void global_read_past_end_body(const PlantedArgs& args) {
    args.output[threadIdx.x] = args.input[threadIdx.x + (FIXED ? 0 : 1)];  // planted: global_read_past_end
}

// The last thread writes one word behind all shared memory of the block.
template <bool FIXED> KF_INLINE void shared_past_end_body(const PlantedArgs& args) {
    __shared__ int tile[THREADS];
    tile[threadIdx.x + (FIXED ? 0 : 1)] = args.input[threadIdx.x];  // planted: shared_past_end
    __syncthreads();
    args.output[threadIdx.x] = tile[THREADS - 1 - threadIdx.x];
}

// The first thread writes one word before it.
template <bool FIXED> KF_INLINE void shared_before_start_body(const PlantedArgs& args) {
    __shared__ int tile[THREADS];
    tile[(int)threadIdx.x - (FIXED ? 0 : 1)] = args.input[threadIdx.x];  // planted: shared_before_start
    __syncthreads();
    args.output[threadIdx.x] = tile[THREADS - 1 - threadIdx.x];
}

// Memory whose size comes with the launch: the last thread writes behind it.
template <bool FIXED> KF_INLINE void dynamic_shared_past_end_body(const PlantedArgs& args) {
    extern __shared__ int dynamic_tile[];
    dynamic_tile[threadIdx.x + (FIXED ? 0 : 1)] = args.input[threadIdx.x];  // planted: dynamic_shared_past_end
    __syncthreads();
    args.output[threadIdx.x] = dynamic_tile[THREADS - 1 - threadIdx.x];
}

// 16 bytes at an address that is a multiple of 4 only.
template <bool FIXED> KF_INLINE void misaligned_vector_body(const PlantedArgs& args) {
    int4 four = *(const int4*)(args.input + (FIXED ? 4 : 1));  // planted: misaligned_vector
    args.output[threadIdx.x] = four.x + four.y + four.z + four.w;
}

// Reads memory that was allocated and never written.
template <bool FIXED> KF_INLINE void unwritten_global_body(const PlantedArgs& args) {
    if constexpr (FIXED) args.scratch[threadIdx.x] = args.input[threadIdx.x];
    args.output[threadIdx.x] = args.scratch[threadIdx.x];  // planted: unwritten_global
}

// Half of the tile is written, all of it is read.
template <bool FIXED> KF_INLINE void unwritten_shared_body(const PlantedArgs& args) {
    __shared__ int tile[THREADS];
    if (FIXED || threadIdx.x < THREADS / 2) tile[threadIdx.x] = args.input[threadIdx.x];
    __syncthreads();
    args.output[threadIdx.x] = tile[THREADS - 1 - threadIdx.x];  // planted: unwritten_shared
}

// Leaves out the last element. Nothing is wrong inside the kernel: the copy to the host finds it.
template <bool FIXED> KF_INLINE void output_not_fully_written_body(const PlantedArgs& args) {
    if (FIXED || threadIdx.x < THREADS - 1) args.output[threadIdx.x] = args.input[threadIdx.x];
}

// Correct code, for what goes wrong outside of it: freed memory, pointers of the host, streams that do not wait.
template <bool FIXED> KF_INLINE void copy_words_body(const PlantedArgs& args) {
    args.output[threadIdx.x] = args.input[threadIdx.x];  // planted: copy_words
}

// Follows a pointer that lies in device memory.
template <bool FIXED> KF_INLINE void follow_pointer_body(const PlantedArgs& args) {
    const int* hidden = *(const int* const*)args.scratch;
    args.output[threadIdx.x] = hidden[threadIdx.x];  // planted: follow_pointer
}

extern "C" __global__ void global_past_end_bug(const __grid_constant__ PlantedArgs args) { global_past_end_body<false>(args); }
extern "C" __global__ void global_past_end(const __grid_constant__ PlantedArgs args) { global_past_end_body<true>(args); }
extern "C" __global__ void global_before_start_bug(const __grid_constant__ PlantedArgs args) { global_before_start_body<false>(args); }
extern "C" __global__ void global_before_start(const __grid_constant__ PlantedArgs args) { global_before_start_body<true>(args); }
extern "C" __global__ void global_read_past_end_bug(const __grid_constant__ PlantedArgs args) { global_read_past_end_body<false>(args); }
extern "C" __global__ void global_read_past_end(const __grid_constant__ PlantedArgs args) { global_read_past_end_body<true>(args); }
extern "C" __global__ void shared_past_end_bug(const __grid_constant__ PlantedArgs args) { shared_past_end_body<false>(args); }
extern "C" __global__ void shared_past_end(const __grid_constant__ PlantedArgs args) { shared_past_end_body<true>(args); }
extern "C" __global__ void shared_before_start_bug(const __grid_constant__ PlantedArgs args) { shared_before_start_body<false>(args); }
extern "C" __global__ void shared_before_start(const __grid_constant__ PlantedArgs args) { shared_before_start_body<true>(args); }
extern "C" __global__ void dynamic_shared_past_end_bug(const __grid_constant__ PlantedArgs args) { dynamic_shared_past_end_body<false>(args); }
extern "C" __global__ void dynamic_shared_past_end(const __grid_constant__ PlantedArgs args) { dynamic_shared_past_end_body<true>(args); }
extern "C" __global__ void misaligned_vector_bug(const __grid_constant__ PlantedArgs args) { misaligned_vector_body<false>(args); }
extern "C" __global__ void misaligned_vector(const __grid_constant__ PlantedArgs args) { misaligned_vector_body<true>(args); }
extern "C" __global__ void unwritten_global_bug(const __grid_constant__ PlantedArgs args) { unwritten_global_body<false>(args); }
extern "C" __global__ void unwritten_global(const __grid_constant__ PlantedArgs args) { unwritten_global_body<true>(args); }
extern "C" __global__ void unwritten_shared_bug(const __grid_constant__ PlantedArgs args) { unwritten_shared_body<false>(args); }
extern "C" __global__ void unwritten_shared(const __grid_constant__ PlantedArgs args) { unwritten_shared_body<true>(args); }
extern "C" __global__ void output_not_fully_written_bug(const __grid_constant__ PlantedArgs args) { output_not_fully_written_body<false>(args); }
extern "C" __global__ void output_not_fully_written(const __grid_constant__ PlantedArgs args) { output_not_fully_written_body<true>(args); }
extern "C" __global__ void copy_words(const __grid_constant__ PlantedArgs args) { copy_words_body<true>(args); }
extern "C" __global__ void follow_pointer(const __grid_constant__ PlantedArgs args) { follow_pointer_body<true>(args); }
