// kf.cuh - the one include of a kernel file.
//
// Rules of everything below and of the kernels (native/README.md says why):
//   * Sums and products that make a result are written with __fadd_rn, __fmul_rn and __fmaf_rn: the driver's compiler
//     may fuse a plain a * b + c, never these. So the bits are those that the source says.
//   * Blocks are one-dimensional and a whole number of warps.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cfloat>
#include <climits>
#include <cstdint>
#include <type_traits>

#define KF_INLINE __device__ __forceinline__

namespace kf {

using bf16 = __nv_bfloat16;

constexpr int WARP = 32;

constexpr __host__ __device__ int ceil_div(int value, int divisor) { return (value + divisor - 1) / divisor; }

constexpr __host__ __device__ int round_up(int value, int multiple) { return ceil_div(value, multiple) * multiple; }

}  // namespace kf

#include "ptx.cuh"            // single instructions
#include "ptx_sm90.cuh"       // single instructions of sm_90a
#include "vec.cuh"            // 16-byte vectors, conversions
#include "warp.cuh"           // lanes, warps, reductions in a fixed order
#include "tile.cuh"           // shared memory as the tensor cores read it
#include "softmax_state.cuh"  // the canon of attention, step by step
#include "attention_items.cuh"  // what a plan asks of attention kernels
#include "wide_items.cuh"       // what its wide items share
#include "rows.cuh"           // rows of any length and alignment
#include "normalize.cuh"      // root-mean-square normalisation
#include "exact_math.cuh"     // exponential and logarithm with the bits of the CPU
#include "epilogue.cuh"       // what becomes of the totals of a product
#include "lane_sums.cuh"      // sums of the lanes of k, by the block that comes last
#include "result_tile.cuh"    // totals of a tile on their way to the result
#include "dense_weights.cuh"   // weights that are not quantised
#include "packed_weights.cuh"  // quantised weights as operand A
#include "gumbel.cuh"         // noise with the bits of the CPU
#include "token_order.cuh"    // tokens by logit, searched without sorting
#include "scaled_logits.cuh"  // likelihoods of tokens and their sums
#include "drawing.cuh"        // a draw from a row of logits
#include "draft_row.cuh"      // what verification of drafts knows about a sequence

using namespace kf;
