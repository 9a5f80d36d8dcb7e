// scaled_logits.cuh - likelihoods of the tokens of a row, as ScaledLogits.cs has them on the CPU.
#pragma once

namespace kf {

// Likelihoods are added as whole numbers of this unit, so that no order of addition changes a sum. A row has at most
// MAX_VOCABULARY tokens of likelihood 1 at most: the sum stays below 2^64.
constexpr float MASS_UNITS = 17592186044416.0f;  // 2^44
constexpr int MAX_VOCABULARY = 1 << 20;          // CudaOperators.Sample.cs uses the same number

KF_INLINE uint64_t to_mass(float likelihood) { return __float2ull_rz(__fmul_rn(likelihood, MASS_UNITS)); }

// A row of logits with its largest one and a temperature: a token's score is (logit - largest) / temperature, e^score
// its likelihood relative to the likeliest.
struct ScaledLogits {
    const float* logits;
    int columns;
    float largest, temperature;

    KF_INLINE float score(int id) const { return __fdiv_rn(__fsub_rn(logits[id], largest), temperature); }

    // 0 for NaN.
    KF_INLINE float likelihood(int id) const {
        float s = score(id);
        return isnan(s) ? 0.0f : exact_exp(s);
    }

    // Mass of all tokens: sixteen neighbours are added in F32 by the tree that the CPU uses.
    template <int WARPS> KF_INLINE uint64_t total_mass(BlockRoom<WARPS>& room) const {
        constexpr int NEIGHBOURS = 16;
        uint64_t total = 0;
        for (int start = warp_id() * WARP; start < columns; start += WARPS * WARP) {
            int id = start + lane_id();
            float sum = reduce_lanes<NEIGHBOURS>(id < columns ? likelihood(id) : 0.0f, Sum());
            if (lane_id() % NEIGHBOURS == 0) total += to_mass(sum);
        }
        return block_reduce((TokenKey)total, room, WholeSum());
    }

    // Mass of the tokens up to a key.
    template <int WARPS> KF_INLINE uint64_t mass_up_to(TokenKey last, BlockRoom<WARPS>& room) const {
        uint64_t total = 0;
        for (int id = threadIdx.x; id < columns; id += WARPS * WARP)
            if (token_key(logits[id], id) <= last) total += to_mass(likelihood(id));
        return block_reduce((TokenKey)total, room, WholeSum());
    }
};

}  // namespace kf
