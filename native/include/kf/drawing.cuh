// drawing.cuh - a draw from a row of logits, by all threads of a block: what sample.cu and its relatives share.
#pragma once

namespace kf {

struct SamplingRow {  // mirrored by SamplingRow in C#
    uint64_t seed;
    int position;
    float temperature;
    int top_k;
    float top_p;
    float min_p;
};

// What top-k, top-p and min-p leave of a row: tokens up to a key whose score is not below the lowest. Tokens whose score is negative infinity are never left.
struct TokenFilter {
    TokenKey last;
    float lowest;

    KF_INLINE bool leaves(const ScaledLogits& scaled, int id, float score) const {
        return score >= lowest && token_key(scaled.logits[id], id) <= last;
    }
};

// Whether the likeliest token is the draw.
KF_INLINE bool is_certain(const SamplingRow& row, float largest) { return row.temperature == 0.0f || !isfinite(largest); }

// The key of the last token that top-k and top-p leave.
template <int WARPS> KF_INLINE TokenKey last_left(const ScaledLogits& scaled, int top_k, float top_p, BlockRoom<WARPS>& room) {
    TokenKey last = AFTER_ALL;
    bool limits_count = top_k > 0 && top_k < scaled.columns;
    if (limits_count) last = key_reaching(scaled.logits, scaled.columns, top_k, last, [](int) -> uint64_t { return 1; }, room);
    if (top_p == 1.0f) return last;

    uint64_t total = limits_count ? scaled.mass_up_to(last, room) : scaled.total_mass(room);
    uint64_t target = max(__double2ull_ru((double)top_p * (double)total), 1ull);  // top-p 0 leaves the likeliest token
    return key_reaching(scaled.logits, scaled.columns, target, last, [&](int id) { return to_mass(scaled.likelihood(id)); }, room);
}

template <int WARPS> KF_INLINE TokenFilter filter_of(const ScaledLogits& scaled, const SamplingRow& row, BlockRoom<WARPS>& room) {
    return {last_left(scaled, row.top_k, row.top_p, room), row.min_p == 0.0f ? -FLT_MAX : (float)log((double)row.min_p)};
}

// Behind the key of every total.
constexpr TokenKey NO_TOKEN = ~(TokenKey)0;

// The least key behind a key, 0 for the first, of score + noise over the tokens that a filter leaves, the likeliest token among them: the next in the order in
// which they win. NO_TOKEN when there is none.
template <int WARPS>
KF_INLINE TokenKey race(
    const ScaledLogits& scaled, const SamplingRow& row, int likeliest, const TokenFilter& filter, TokenKey behind, BlockRoom<WARPS>& room) {
    float best = gumbel_noise(row.seed, row.position, likeliest);
    TokenKey winner = key_of_number(best, likeliest);
    if (winner <= behind) {
        best = -INFINITY;
        winner = NO_TOKEN;
    }
    for (int id = threadIdx.x; id < scaled.columns; id += WARPS * WARP) {
        float score = scaled.score(id);
        bool may_win = __fadd_rn(score, LARGEST_NOISE) >= best && filter.leaves(scaled, id, score);
        if (!may_win) continue;
        float total = __fadd_rn(score, gumbel_noise(row.seed, row.position, id));
        TokenKey key = key_of_number(total, id);
        if (key <= behind) continue;
        winner = Least()(winner, key);
        best = fmaxf(best, total);
    }
    return block_reduce(winner, room, Least());
}

// The token of a row.
template <int WARPS> KF_INLINE int draw(const float* logits, int columns, const SamplingRow& row, BlockRoom<WARPS>& room) {
    int likeliest = id_of(likeliest_key(logits, columns, room));
    float largest = logits[likeliest];
    if (is_certain(row, largest)) return likeliest;

    ScaledLogits scaled{logits, columns, largest, row.temperature};
    return id_of(race(scaled, row, likeliest, filter_of(scaled, row, room), 0, room));
}

}  // namespace kf
