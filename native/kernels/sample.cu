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

struct SamplingRow {  // mirrored by SamplingRow in C#
    uint64_t seed;
    int position;
    float temperature;
    int top_k;
    float top_p;
    float min_p;
};

struct SampleArgs {  // mirrored by SampleArgs in C#
    const float* logits;
    const SamplingRow* rows;
    int* result;
    int columns;
    int stride;
};

// The key of the last token that top-k and top-p leave.
KF_INLINE TokenKey last_left(const ScaledLogits& scaled, int top_k, float top_p, BlockRoom<WARPS>& room) {
    TokenKey last = AFTER_ALL;
    bool limits_count = top_k > 0 && top_k < scaled.columns;
    if (limits_count) last = key_reaching(scaled.logits, scaled.columns, top_k, last, [](int) -> uint64_t { return 1; }, room);
    if (top_p == 1.0f) return last;

    uint64_t total = limits_count ? scaled.mass_up_to(last, room) : scaled.total_mass(room);
    uint64_t target = __double2ull_ru((double)top_p * (double)total);
    return key_reaching(scaled.logits, scaled.columns, target, last, [&](int id) { return to_mass(scaled.likelihood(id)); }, room);
}

// Argmax of score + noise over the tokens up to a key whose score is not below the lowest; the likeliest token is one
// of them.
KF_INLINE int race(const ScaledLogits& scaled, const SamplingRow& row, int likeliest, TokenKey last, float lowest, BlockRoom<WARPS>& room) {
    float best = gumbel_noise(row.seed, row.position, likeliest);
    TokenKey winner = key_of_number(best, likeliest);
    for (int id = threadIdx.x; id < scaled.columns; id += THREADS) {
        float score = scaled.score(id);
        bool may_win = __fadd_rn(score, LARGEST_NOISE) >= best && score >= lowest && token_key(scaled.logits[id], id) <= last;
        if (!may_win) continue;
        float total = __fadd_rn(score, gumbel_noise(row.seed, row.position, id));
        winner = Least()(winner, key_of_number(total, id));
        best = fmaxf(best, total);
    }
    return id_of(block_reduce(winner, room, Least()));
}

KF_INLINE int draw(const float* logits, int columns, const SamplingRow& row, BlockRoom<WARPS>& room) {
    int likeliest = id_of(likeliest_key(logits, columns, room));
    float largest = logits[likeliest];
    if (row.temperature == 0.0f || !isfinite(largest)) return likeliest;

    ScaledLogits scaled{logits, columns, largest, row.temperature};
    TokenKey last = last_left(scaled, row.top_k, row.top_p, room);
    float lowest = row.min_p == 0.0f ? -INFINITY : (float)log((double)row.min_p);
    return race(scaled, row, likeliest, last, lowest, room);
}

// Two blocks per multiprocessor leave registers enough; without the number ptxas spills for more blocks.
extern "C" __global__ void __launch_bounds__(THREADS, 2) sample_f32(const __grid_constant__ SampleArgs args) {
    __shared__ BlockRoom<WARPS> room;
    int token = draw(args.logits + (size_t)blockIdx.x * args.stride, args.columns, args.rows[blockIdx.x], room);
    if (threadIdx.x == 0) args.result[blockIdx.x] = token;
}
