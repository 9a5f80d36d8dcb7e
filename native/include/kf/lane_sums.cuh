// lane_sums.cuh - lanes of k that different blocks have summed, added from the first to the last by the block that comes last.
//
// Each block leaves its sums in memory and counts itself. The last one of a tile finds the counter one short of the lanes, adds all lanes in their order and
// sets the counter back to 0. So the order of sums does not depend on who comes when, nobody waits for anybody, and data needs no atomics.
#pragma once

namespace kf {

struct LaneSums {  // mirrored by LaneSumsArgs in C#
    float4* partials;  // [tile][lane][fragment][thread]
    int* counters;     // [tile], 0 before and after a launch
};

// The barrier of all threads of a block.
struct BlockBarrier {
    KF_INLINE void operator()() const { __syncthreads(); }
};

// Of a tile that `lanes` blocks of THREADS threads share: takes this block's sums of its lane, and returns whether totals are the result, ((0 + lane 0) + lane 1)
// + ..., which the last block gets. Only the first `used` of each row of fragments matter. Called by all threads of a
// block; or by those with sums, which have their numbers from 0 on and a barrier of their own.
template <int THREADS, int ROWS, int COLUMNS, class Barrier = BlockBarrier>
KF_INLINE bool add_lanes(
    float (&totals)[ROWS][COLUMNS][4], const LaneSums& sums, int tile, int lane, int lanes, int used, int thread = threadIdx.x, Barrier barrier = {}) {
    __shared__ bool is_last;
    float4* partials = sums.partials + ((size_t)tile * lanes) * (ROWS * COLUMNS * THREADS) + thread;
    float4* own = partials + (size_t)lane * (ROWS * COLUMNS * THREADS);
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) {
            if (j < used) __stcg(own + (i * COLUMNS + j) * THREADS, make_float4(totals[i][j][0], totals[i][j][1], totals[i][j][2], totals[i][j][3]));
        }
    }
    __threadfence();
    barrier();  // every thread's sums can be seen by other blocks: the block may be counted
    if (thread == 0) is_last = atomicAdd(sums.counters + tile, 1) == lanes - 1;
    barrier();  // every thread knows whether the block is the last one
    if (!is_last) return false;
    __threadfence();
    if (thread == 0) sums.counters[tile] = 0;  // nobody else comes
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) {
#pragma unroll
            for (int k = 0; k < 4; k++) totals[i][j][k] = 0.0f;
        }
    }
#pragma unroll 1
    for (int l = 0; l < lanes; l++, partials += ROWS * COLUMNS * THREADS) {
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) {
                if (j >= used) continue;
                float4 of_lane = __ldcg(partials + (i * COLUMNS + j) * THREADS);
                totals[i][j][0] = __fadd_rn(totals[i][j][0], of_lane.x);
                totals[i][j][1] = __fadd_rn(totals[i][j][1], of_lane.y);
                totals[i][j][2] = __fadd_rn(totals[i][j][2], of_lane.z);
                totals[i][j][3] = __fadd_rn(totals[i][j][3], of_lane.w);
            }
        }
    }
    return true;
}

}  // namespace kf
