// reject_drafts.cu - the token after each node by rejection sampling: the drafted one, or another, distributed as the target model says.
//
// Why      A drafted token that is likely under the target model is taken although plain decoding might have drawn another: more drafts are accepted, and tokens
//          still follow the target's distribution (arXiv:2211.17192, 2302.01318).
//
// Math     p, q = distributions of target and draft after temperature, top-k, top-p and min-p; x = the drafted token, drawn from q; u uniform:
//          u * q(x) < p(x): x;  otherwise a draw from max(p - q, 0): argmax(log(p - q) + Gumbel noise), or x where p - q is nowhere positive.
//          Without draft logits q is 1 at x. No drafted token: a draw from p as in sample.cu. A certain target (temperature 0) gives its likeliest token.
//          Probabilities are likelihoods times 1 / their sum, rounded to float; sums are whole numbers (scaled_logits.cuh).
//
// Shapes   logits         [nodes, columns]   float, rows stride apart: the target's
//          draft_logits   [nodes, columns]   float, rows draft_stride apart: what the drafted token was drawn from; null for drafts that were certain
//          rows           [nodes]            how to draw, on both sides
//          drafted        [nodes]            the drafted token after each node, negative for none
//          chosen         [nodes]            int
//
// Tiling   One block per node, nodes apart from one another. Rows lie in the cache after the first pass; the residual is computed where it is needed, never stored.
//
// Limits   columns <= MAX_VOCABULARY
//
// Cost     nodes * columns * 8 bytes from memory; three passes over each row, two more over both after a rejection; compute bound with top-k or top-p.

#include "kf/kf.cuh"

constexpr int THREADS = 256;  // CudaOperators.RejectDrafts.cs uses the same number
constexpr int WARPS = THREADS / WARP;
using Room = BlockRoom<WARPS>;

struct RejectDraftsArgs {  // mirrored by RejectDraftsArgs in C#
    const float* logits;
    const float* draft_logits;
    const SamplingRow* rows;
    const int* drafted;
    int* chosen;
    int columns;
    int stride;
    int draft_stride;
    int padding;
};

// What a row of logits says of each token after the filters.
struct TokenDistribution {
    ScaledLogits scaled;
    TokenFilter filter;
    float share;  // 1 / the likelihoods of all tokens left

    KF_INLINE float probability(int id) const {
        float score = scaled.score(id);
        return filter.leaves(scaled, id, score) ? __fmul_rn(exact_exp(score), share) : 0.0f;
    }
};

KF_INLINE TokenDistribution distribution_of(const ScaledLogits& scaled, const SamplingRow& row, Room& room) {
    TokenFilter filter = filter_of(scaled, row, room);
    uint64_t mass = 0;
    for (int id = threadIdx.x; id < scaled.columns; id += THREADS)
        if (filter.leaves(scaled, id, scaled.score(id))) mass += to_mass(scaled.likelihood(id));
    TokenKey total = block_reduce((TokenKey)mass, room, WholeSum());
    return {scaled, filter, (float)__ddiv_rn(MASS_UNITS, (double)total)};
}

// What the drafted token was drawn from: a distribution, or that token for certain.
struct Draft {
    int token;
    bool is_certain;
    TokenDistribution distribution;

    KF_INLINE float probability(int id) const { return is_certain ? (id == token ? 1.0f : 0.0f) : distribution.probability(id); }
};

KF_INLINE Draft draft_of(const float* logits, int columns, int token, const SamplingRow& row, Room& room) {
    if (logits == nullptr) return {token, true};
    float largest = logits[id_of(likeliest_key(logits, columns, room))];
    if (is_certain(row, largest)) return {token, true};
    return {token, false, distribution_of({logits, columns, largest, row.temperature}, row, room)};
}

// A draw from what the target has more than the draft; the drafted token where there is nothing.
KF_INLINE int draw_residual(const TokenDistribution& target, const Draft& draft, const SamplingRow& row, Room& room) {
    float best = -INFINITY;
    TokenKey winner = NO_TOKEN;
    for (int id = threadIdx.x; id < target.scaled.columns; id += THREADS) {
        float residual = __fsub_rn(target.probability(id), draft.probability(id));
        if (residual < FLT_MIN) continue;
        float score = exact_log(residual);
        if (__fadd_rn(score, LARGEST_NOISE) < best) continue;
        float total = __fadd_rn(score, gumbel_noise(row.seed, row.position, id, RandomPurpose::RESIDUAL));
        winner = Least()(winner, key_of_number(total, id));
        best = fmaxf(best, total);
    }
    winner = block_reduce(winner, room, Least());
    return winner == NO_TOKEN ? draft.token : id_of(winner);
}

KF_INLINE int choose(const float* logits, const float* draft_logits, int columns, int drafted, const SamplingRow& row, Room& room) {
    if (drafted < 0) return draw(logits, columns, row, room);
    int likeliest = id_of(likeliest_key(logits, columns, room));
    float largest = logits[likeliest];
    if (is_certain(row, largest)) return likeliest;

    TokenDistribution target = distribution_of({logits, columns, largest, row.temperature}, row, room);
    Draft draft = draft_of(draft_logits, columns, drafted, row, room);
    float u = uniform_number(row.seed, row.position, RandomPurpose::ACCEPTANCE);
    bool is_accepted = __fmul_rn(u, draft.probability(drafted)) < target.probability(drafted);
    return is_accepted ? drafted : draw_residual(target, draft, row, room);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) reject_drafts_f32(const __grid_constant__ RejectDraftsArgs args) {
    __shared__ Room room;
    size_t node = blockIdx.x;
    const float* draft_logits = args.draft_logits == nullptr ? nullptr : args.draft_logits + node * args.draft_stride;
    int token = choose(args.logits + node * args.stride, draft_logits, args.columns, args.drafted[node], args.rows[node], room);
    if (threadIdx.x == 0) args.chosen[node] = token;
}
