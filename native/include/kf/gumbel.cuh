// gumbel.cuh - random numbers that have a name instead of a state: the same bits as Philox.cs and GumbelNoise.cs on the
// CPU.
#pragma once

namespace kf {

// Four random words as a function of a 128-bit counter and a 64-bit key: Philox4x32-10.
// Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
KF_INLINE uint4 philox(uint4 counter, uint64_t key) {
    uint32_t key0 = (uint32_t)key, key1 = (uint32_t)(key >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        uint64_t product0 = (uint64_t)0xD2511F53 * counter.x, product1 = (uint64_t)0xCD9E8D57 * counter.z;
        counter = {(uint32_t)(product1 >> 32) ^ counter.y ^ key0, (uint32_t)product1,
                   (uint32_t)(product0 >> 32) ^ counter.w ^ key1, (uint32_t)product0};
        key0 += 0x9E3779B9;
        key1 += 0xBB67AE85;
    }
    return counter;
}

// No noise is larger: -log(-log(1 - 2^-33)) is 22.87.
constexpr float LARGEST_NOISE = 23.0f;

// (word + 1/2) / 2^32.
KF_INLINE float unit_of(uint32_t word) { return __fmul_rn(__fadd_rn(__uint2float_rn(word), 0.5f), 1.0f / 4294967296.0f); }

// Keeps the random words of different users of the same seed and position apart; RandomPurpose in C#.
enum class RandomPurpose : uint32_t { SAMPLING, ACCEPTANCE, RESIDUAL };

// Standard Gumbel noise -log(-log(1 - v)) of a token, v uniform: a function of seed, absolute position, token and purpose only.
KF_INLINE float gumbel_noise(uint64_t seed, int position, int token, RandomPurpose purpose = RandomPurpose::SAMPLING) {
    uint4 words = philox({(uint32_t)token / 4, (uint32_t)position, (uint32_t)purpose, 0}, seed);
    uint32_t word = token % 4 == 0 ? words.x : token % 4 == 1 ? words.y : token % 4 == 2 ? words.z : words.w;
    return __fsub_rn(0.0f, exact_log(exact_negative_log_of_rest(unit_of(word), unit_of(~word))));
}

// A uniform number of a position.
KF_INLINE float uniform_number(uint64_t seed, int position, RandomPurpose purpose) {
    return unit_of(philox({0, (uint32_t)position, (uint32_t)purpose, 0}, seed).x);
}

}  // namespace kf
