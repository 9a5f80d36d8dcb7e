// softmax_state.cuh - the canon of attention (native/README.md): the online softmax of a warp's 16 rows, as the tensor cores hold them.
//
// A warp has 16 rows; a lane holds parts of the rows lane / 4 and lane / 4 + 8, called side 0 and 1: of scores the positions 2 * (lane % 4) and + 1 of every 8,
// of outputs the same columns. Accumulators of mma.m16n8k16 and, warp by warp, of wgmma are laid out so. All attention kernels are made of the steps
// below, in the order of the canon; which kernel makes a step, and what else it does in between, changes no bit.
#pragma once

namespace kf {

// Positions of a softmax step. The canon of an architecture: two of them need not agree in their bits.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
constexpr int TILE = 128;
#else
constexpr int TILE = 64;
#endif
constexpr int SPLIT = 512;  // positions after which the softmax starts anew; a multiple of TILE

// How scores are made of products q.k.
struct Scoring {
    float scale;     // of scores in the exponent of 2: the caller's scale times log2(e), or log2(e) if scores are capped
    float cap;       // scores become cap * tanh(score / cap); 0: they do not
    float cap_rate;  // 2 * log2(e) * the caller's scale / cap
};

// Positions that a row sees: first .. last.
struct Visible {
    int first, last;
};

// A lane's part of the scores of a tile: groups of 8 positions, its values of both sides.
using Scores = float[TILE / 8][4];

// A lane's part of the softmax of its two rows over the tiles of a split.
template <int HEAD_DIM> struct SoftmaxState {
    float max[2], sum[2];  // of products, not yet scaled, unless capped; the sum is the lane's own, see quad_sum
    float output[HEAD_DIM / 8][4];

    KF_INLINE void start() {
        max[0] = max[1] = -INFINITY;
        sum[0] = sum[1] = 0.0f;
#pragma unroll
        for (int n = 0; n < HEAD_DIM / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) output[n][i] = 0.0f;
        }
    }
};

// The softmax over the splits so far, but for its output.
struct SoftmaxTotal {
    float max[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f};
};

// 2^((old - max) c), the difference first so that it is exactly 1 when the maximum stays; 1 before any score.
KF_INLINE float decay(float old, float max, float scale) { return max == -INFINITY ? 1.0f : ex2(__fmul_rn(__fsub_rn(old, max), scale)); }

// Over the four lanes that share a row, neighbours first.
KF_INLINE float quad_sum(float value) {
    value = __fadd_rn(value, __shfl_xor_sync(ALL_LANES, value, 1));
    return __fadd_rn(value, __shfl_xor_sync(ALL_LANES, value, 2));
}

// Bounds scores: cap * tanh(product * scale / cap), by tanh(x) = 1 - 2 / (1 + e^2x).
template <int GROUPS> KF_INLINE void cap_scores(float (&scores)[GROUPS][4], const Scoring& scoring) {
#pragma unroll
    for (int n = 0; n < GROUPS; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float factor = rcp(__fadd_rn(1.0f, ex2(__fmul_rn(scores[n][i], scoring.cap_rate))));
            scores[n][i] = __fmaf_rn(__fmul_rn(-2.0f, scoring.cap), factor, scoring.cap);
        }
    }
}

// Takes the positions that a row does not see out of its scores. Of a tile whose positions all are seen it changes nothing.
KF_INLINE void mask_scores(Scores& scores, int first, const Visible (&visible)[2]) {
#pragma unroll
    for (int n = 0; n < TILE / 8; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int position = first + n * 8 + lane_id() % 4 * 2 + i % 2;
            if (position > visible[i / 2].last || position < visible[i / 2].first) scores[n][i] = -INFINITY;
        }
    }
}

// Turns the scores of a side into p and adds them to its running maximum and sum. Returns the factor by which its output is due to be scaled.
KF_INLINE float weigh_scores(float& max, float& sum, Scores& scores, int side, float scale) {
    float larger = max;
#pragma unroll
    for (int n = 0; n < TILE / 8; n++) larger = fmaxf(fmaxf(larger, scores[n][side * 2]), scores[n][side * 2 + 1]);
    larger = reduce_lanes<4>(larger, Max());

    float factor = decay(max, larger, scale), shift = larger == -INFINITY ? 0.0f : -__fmul_rn(larger, scale), added = 0.0f;
#pragma unroll
    for (int n = 0; n < TILE / 8; n++) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float& score = scores[n][side * 2 + i];
            score = ex2(__fmaf_rn(score, scale, shift));
            added = __fadd_rn(added, score);
        }
    }
    max = larger;
    sum = __fmaf_rn(sum, factor, added);
    return factor;
}

// Scales the output of a side.
template <int GROUPS> KF_INLINE void scale_output(float (&output)[GROUPS][4], int side, float factor) {
#pragma unroll
    for (int n = 0; n < GROUPS; n++) {
        output[n][side * 2] = __fmul_rn(output[n][side * 2], factor);
        output[n][side * 2 + 1] = __fmul_rn(output[n][side * 2 + 1], factor);
    }
}

// One step of the online softmax: turns the scores of a tile into p and rescales the state.
template <int HEAD_DIM> KF_INLINE void add_scores(SoftmaxState<HEAD_DIM>& state, Scores& scores, float scale) {
#pragma unroll
    for (int side = 0; side < 2; side++) scale_output(state.output, side, weigh_scores(state.max[side], state.sum[side], scores, side, scale));
}

// Operand A of 16 positions' weights: groups 2 * step and 2 * step + 1 of p, rounded.
template <class T> KF_INLINE void pack_weights(uint32_t (&a)[4], const float (*p)[4], int step) {
    const float(&left)[4] = p[2 * step], (&right)[4] = p[2 * step + 1];
    a[0] = pack<T>(left[0], left[1]);
    a[1] = pack<T>(left[2], left[3]);
    a[2] = pack<T>(right[0], right[1]);
    a[3] = pack<T>(right[2], right[3]);
}

// How a split (or what else has its maximum) and the total are weighed when they are added. One side at a time.
struct FoldFactors {
    float of_split, of_total;
};

// Adds the maximum and sum of a finished split to the total; sum is that of the whole row. The outputs follow with fold_output.
KF_INLINE FoldFactors fold_sums(SoftmaxTotal& total, int side, float max, float sum, float scale) {
    float larger = fmaxf(total.max[side], max);
    FoldFactors factors{decay(max, larger, scale), decay(total.max[side], larger, scale)};
    total.max[side] = larger;
    total.sum[side] = __fmaf_rn(sum, factors.of_split, __fmul_rn(total.sum[side], factors.of_total));
    return factors;
}

KF_INLINE float fold_output(float total, float split, const FoldFactors& factors) {
    return __fmaf_rn(split, factors.of_split, __fmul_rn(total, factors.of_total));
}

}  // namespace kf
