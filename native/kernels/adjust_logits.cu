// adjust_logits.cu - change single logits in place: penalties, biases, forbidden tokens.
//
// Math     l = (l > 0 ? l / divisor : l * divisor) + offset for each adjustment
//
// Shapes   logits        [rows, vocabulary]   float, rows stride apart
//          adjustments   [count]              no (row, token) twice
//
// Tiling   One thread per adjustment.
//
// Limits   A row or token outside of the logits writes outside of them.
//
// Cost     Launch bound.

#include "kf/kf.cuh"

constexpr int THREADS = 256;  // CudaOperators.AdjustLogits.cs uses the same number

struct LogitAdjustment {  // mirrored by LogitAdjustment in C#
    int row;
    int token;
    float divisor;
    float offset;
};

struct AdjustLogitsArgs {  // mirrored by AdjustLogitsArgs in C#
    float* logits;
    const LogitAdjustment* adjustments;
    int count;
    int stride;
};

extern "C" __global__ void __launch_bounds__(THREADS) adjust_logits_f32(const __grid_constant__ AdjustLogitsArgs args) {
    int i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= args.count) return;

    LogitAdjustment change = args.adjustments[i];
    float* logit = args.logits + (size_t)change.row * args.stride + change.token;
    float scaled = *logit > 0.0f ? __fdiv_rn(*logit, change.divisor) : __fmul_rn(*logit, change.divisor);
    *logit = __fadd_rn(scaled, change.offset);
}
