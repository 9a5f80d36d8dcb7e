// log_probs.cu - log-probabilities of a chosen token and of the most likely ones.
//
// Math     log_prob(token) = logit - largest - log(sum over all tokens of e^(logit - largest))
//
// Shapes   logits             [rows, columns]   float, rows stride apart
//          chosen             [rows]            int, 0 .. columns - 1
//          chosen_log_probs   [rows]            float, natural log
//          top_tokens         [rows * top]      int, most likely first, ties to the lower id
//          top_log_probs      [rows * top]      float
//
// Tiling   One block per row; each of its most likely tokens is one pass over the row, which lies in the cache.
//
// Limits   columns <= MAX_VOCABULARY. A chosen token outside of the row reads outside of it.
//
// Cost     rows * columns * 4 bytes from memory, 3 + top passes over the cache.

#include "kf/kf.cuh"

constexpr int THREADS = 256;  // CudaOperators.LogProbs.cs uses the same number
constexpr int WARPS = THREADS / WARP;

struct LogProbsArgs {  // mirrored by LogProbsArgs in C#
    const float* logits;
    const int* chosen;
    float* chosen_log_probs;
    int* top_tokens;
    float* top_log_probs;
    int columns;
    int stride;
    int top;
};

extern "C" __global__ void __launch_bounds__(THREADS) log_probs_f32(const __grid_constant__ LogProbsArgs args) {
    __shared__ BlockRoom<WARPS> room;
    int row = blockIdx.x;
    const float* logits = args.logits + (size_t)row * args.stride;
    float largest = logits[id_of(likeliest_key(logits, args.columns, room))];
    ScaledLogits scaled{logits, args.columns, largest, 1.0f};
    float log_sum = (float)log((double)scaled.total_mass(room) / (double)MASS_UNITS);
    if (threadIdx.x == 0) args.chosen_log_probs[row] = __fsub_rn(__fsub_rn(logits[args.chosen[row]], largest), log_sum);

    TokenKey key = 0;
    for (int i = 0; i < args.top; i++) {
        key = next_key(logits, args.columns, key, room);
        if (threadIdx.x == 0) {
            args.top_tokens[(size_t)row * args.top + i] = id_of(key);
            args.top_log_probs[(size_t)row * args.top + i] = __fsub_rn(__fsub_rn(logit_of(key), largest), log_sum);
        }
    }
}
