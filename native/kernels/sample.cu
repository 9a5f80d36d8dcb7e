// sample.cu - draw a token per row: top-k, then top-p, then min-p, then Gumbel-max.
//
// Why      argmax(logit / temperature + Gumbel noise) is a draw from the softmax. The noise of a token is a function of
//          seed, position and token (gumbel.cuh), so a draw depends on neither the batch nor the number of tokens that
//          a step computes. The CPU draws the same tokens from the same logits: noise and likelihoods are the same bits
//          (exact_math.cuh), sums of likelihoods are whole numbers (scaled_logits.cuh).
//
// Math     score = (logit - largest) / temperature;  token = argmax(score + noise) over the tokens that are left:
//          top-k   the k first tokens by descending logit, ties to the lower id
//          top-p   of these, the first ones whose likelihoods e^score reach p times the sum of all of these
//          min-p   those with score >= log(min_p)
//          Temperature 0, or a largest logit that is not finite, gives the largest logit. NaN counts as negative
//          infinity.
//
// Shapes   logits   [rows, columns]   float, rows stride apart
//          rows     [rows]            how to draw
//          result   [rows]            int
//
// Tiling   One block per row. A filter is the key of the last token that it leaves, found by bisection: some twenty
//          passes over a row that lies in the cache, none of it sorted or moved. The noise of a token that cannot win
//          is not computed.
//
// Limits   columns <= MAX_VOCABULARY
//
// Cost     rows * columns * 4 bytes from memory; compute bound with top-k or top-p.

#include "kf/kf.cuh"

constexpr int THREADS = 256;  // CudaOperators.Sample.cs uses the same number
constexpr int WARPS = THREADS / WARP;

struct SampleArgs {  // mirrored by SampleArgs in C#
    const float* logits;
    const SamplingRow* rows;
    int* result;
    int columns;
    int stride;
};

// Two blocks per multiprocessor leave registers enough; without the number ptxas spills for more blocks.
extern "C" __global__ void __launch_bounds__(THREADS, 2) sample_f32(const __grid_constant__ SampleArgs args) {
    __shared__ BlockRoom<WARPS> room;
    int token = draw(args.logits + (size_t)blockIdx.x * args.stride, args.columns, args.rows[blockIdx.x], room);
    if (threadIdx.x == 0) args.result[blockIdx.x] = token;
}
