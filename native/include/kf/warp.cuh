// warp.cuh - where a thread stands, and reductions whose order is fixed, so that their bits are.
//
// Every function here is called by all lanes of a warp, the block_ ones by all threads of a block.
#pragma once

namespace kf {

constexpr uint32_t ALL_LANES = 0xffffffff;

KF_INLINE int lane_id() { return threadIdx.x % WARP; }

KF_INLINE int warp_id() { return threadIdx.x / WARP; }

// Combines the values of groups of WIDTH neighbouring lanes, partners WIDTH / 2 .. 1 apart; every lane gets the result.
template <int WIDTH, class T, class Combine> KF_INLINE T reduce_lanes(T value, Combine combine) {
#pragma unroll
    for (int distance = WIDTH / 2; distance > 0; distance /= 2) value = combine(value, __shfl_xor_sync(ALL_LANES, value, distance));
    return value;
}

struct Sum {
    KF_INLINE float operator()(float a, float b) const { return __fadd_rn(a, b); }
};

struct Max {
    KF_INLINE float operator()(float a, float b) const { return fmaxf(a, b); }  // of a number and NaN: the number
};

KF_INLINE float warp_sum(float value) { return reduce_lanes<WARP>(value, Sum()); }

KF_INLINE float warp_max(float value) { return reduce_lanes<WARP>(value, Max()); }

// Reduces over a block: lanes as in reduce_lanes, then the warps' values from the first to the last. Every thread gets the result.
template <int WARPS, class T, class Combine> KF_INLINE T block_reduce(T value, T (&of_warps)[WARPS], Combine combine) {
    value = reduce_lanes<WARP>(value, combine);
    if (lane_id() == 0) of_warps[warp_id()] = value;
    __syncthreads();  // every warp's value is there
    T result = of_warps[0];
#pragma unroll
    for (int warp = 1; warp < WARPS; warp++) result = combine(result, of_warps[warp]);
    __syncthreads();  // every thread has read: of_warps may be used again
    return result;
}

template <int WARPS> KF_INLINE float block_sum(float value, float (&of_warps)[WARPS]) { return block_reduce(value, of_warps, Sum()); }

template <int WARPS> KF_INLINE float block_max(float value, float (&of_warps)[WARPS]) { return block_reduce(value, of_warps, Max()); }

}  // namespace kf
