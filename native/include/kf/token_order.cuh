// token_order.cuh - the order of the tokens of a row by logit, and the search in it without sorting: the same order as
// TopTokens.cs on the CPU.
//
// A token is one number, its key: the inverted, order-preserving bits of its logit, then its id. Ascending keys are
// descending logits, ties to the lower id. The threads of a block walk a row of logits together; what they find depends
// on no order in which they do.
#pragma once

namespace kf {

using TokenKey = unsigned long long;

// Not below the key of any token.
constexpr TokenKey AFTER_ALL = 0xFF800000FFFFFFFFull;

// Key of a token whose logit is a number; -0 is +0.
KF_INLINE TokenKey key_of_number(float logit, int id) {
    uint32_t bits = __float_as_uint(__fadd_rn(logit, 0.0f));
    uint32_t ascending = (bits & 0x80000000) != 0 ? ~bits : bits | 0x80000000;
    return (TokenKey)~ascending << 32 | (uint32_t)id;
}

// Key of a token; NaN counts as negative infinity.
KF_INLINE TokenKey token_key(float logit, int id) { return key_of_number(isnan(logit) ? -INFINITY : logit, id); }

// The same with NaN behind negative infinity, for the largest number of a row.
KF_INLINE TokenKey number_first_key(float logit, int id) {
    return isnan(logit) ? (TokenKey)0xFFFFFFFF << 32 | (uint32_t)id : key_of_number(logit, id);
}

KF_INLINE int id_of(TokenKey key) { return (int)(uint32_t)key; }

KF_INLINE float logit_of(TokenKey key) {
    uint32_t ascending = ~(uint32_t)(key >> 32);
    return __uint_as_float((ascending & 0x80000000) != 0 ? ascending & 0x7FFFFFFF : ~ascending);
}

struct Least {
    KF_INLINE TokenKey operator()(TokenKey a, TokenKey b) const { return b < a ? b : a; }
};

struct Greatest {
    KF_INLINE TokenKey operator()(TokenKey a, TokenKey b) const { return b > a ? b : a; }
};

struct WholeSum {
    KF_INLINE TokenKey operator()(TokenKey a, TokenKey b) const { return a + b; }
};

// Room for the reductions of a block.
template <int WARPS> using BlockRoom = TokenKey[WARPS];

// The least number_first_key of a row of columns > 0 logits of any float type.
template <int WARPS, class T> KF_INLINE TokenKey likeliest_key(const T* logits, int columns, BlockRoom<WARPS>& room) {
    TokenKey best = ~(TokenKey)0;
    for (int id = threadIdx.x; id < columns; id += WARPS * WARP) best = Least()(best, number_first_key(to_float(logits[id]), id));
    return block_reduce(best, room, Least());
}

// The least key above a key, hence the next most likely token; no token has key 0. AFTER_ALL when there is none.
template <int WARPS> KF_INLINE TokenKey next_key(const float* logits, int columns, TokenKey previous, BlockRoom<WARPS>& room) {
    TokenKey next = AFTER_ALL;
    for (int id = threadIdx.x; id < columns; id += WARPS * WARP) {
        TokenKey key = token_key(logits[id], id);
        if (key > previous) next = Least()(next, key);
    }
    return block_reduce(next, room, Least());
}

// The first key of a row, at most last, up to which the tokens weigh target or more together; last when they do not.
// weigh(id) is a whole number. Every pass over the row cuts the interval that holds the answer in two, each end a
// token's key.
template <int WARPS, class Weigh>
KF_INLINE TokenKey key_reaching(const float* logits, int columns, uint64_t target, TokenKey last, Weigh weigh, BlockRoom<WARPS>& room) {
    TokenKey first = 0;
    while (first < last) {
        TokenKey middle = first + (last - first) / 2, below = first, above = last;
        uint64_t weight = 0;
        for (int id = threadIdx.x; id < columns; id += WARPS * WARP) {
            TokenKey key = token_key(logits[id], id);
            if (key <= middle) {
                weight += weigh(id);
                below = Greatest()(below, key);
            } else {
                above = Least()(above, key);
            }
        }
        if (block_reduce((TokenKey)weight, room, WholeSum()) >= target) last = block_reduce(below, room, Greatest());
        else first = block_reduce(above, room, Least());
    }
    return last;
}

}  // namespace kf
