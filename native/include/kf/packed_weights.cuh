// packed_weights.cuh - quantised weights as every kernel reads them: codes in the order of operand A of mma_m16n8k16 and of wgmma, so that a lane reads 16 bytes
// and has what it multiplies. PackedLayout in C# is the same layout and says it in full.
//
//   codes    [tile of 128 columns][block of 128 k][slice 4][side 2: 16 columns][vector 2 (4 bits) or 4 (8 bits)][lane 32] of 16 bytes
//            4 bits: word j of vector v is k step 4 v + j; bits 4 i + 16 h hold register i, half h
//            8 bits: words j of vector v are k step 2 v + j / 2; byte b holds register 2 (j % 2) + b / 2, half b % 2
//   scales   [tile][group][128] float
//   zeros    [tile][group][128] byte, or null: 8 or 128 everywhere
//
// "Columns" are those of the product before gating: outputs. Of gated weights, of each 16 of them the first 8 are gates, the last 8 the up projection of the
// same channels, so a lane has both: elements 0, 1 and 2, 3 of a sum.
//
// Canon    total of a lane of k = over its groups, ascending, fma(scale, p, total) from 0; p = the k16 steps of the group, ascending, in one chain from 0. One
//          group per column (group_size 0): p is the chain of the whole lane, total = scale * p. Then lanes are added as for any product (native/README.md).
#pragma once

namespace kf {

constexpr int PACKED_TILE = 128;  // columns of a tile, k of a block

struct PackedWeights {  // mirrored by PackedWeightsArgs in C#
    const uint4* codes;
    const float* scales;
    const uint8_t* zeros;
    int columns;      // before padding to tiles; of gated weights twice those of the result
    int k;            // before padding to blocks
    int group_size;   // 32, 64, 128, or 0 for one group
    int lane_length;  // k of a lane, a multiple of 128
};

// Bytes of the codes of a tile's block, and 16-byte vectors of one lane for 16 columns of it.
template <int BITS> constexpr int PACKED_BLOCK_BYTES = PACKED_TILE * PACKED_TILE * BITS / 8;
template <int BITS> constexpr int PACKED_VECTORS = BITS / 2;

// k16 steps in one of them.
template <int BITS> constexpr int PACKED_STEPS = 16 / BITS;

// Group sizes are powers of two: the group of an element of k is k >> group_shift, of one group per column 0 for all of them.
KF_INLINE int group_shift(const PackedWeights& weights) { return __ffs(weights.group_size) - 1 & 31; }

// Groups of a column, those of padding included.
KF_INLINE int group_count(const PackedWeights& weights) { return (round_up(weights.k, PACKED_TILE) - 1 >> group_shift(weights)) + 1; }

// Where the scales and zero points of a tile's 128 columns start.
KF_INLINE size_t scale_index(const PackedWeights& weights, int tile, int group) { return ((size_t)tile * group_count(weights) + group) * PACKED_TILE; }

// Where the codes of a tile's block start.
template <int BITS> KF_INLINE const uint4* block_codes(const PackedWeights& weights, int tile, int block) {
    return weights.codes + (size_t)(tile * ceil_div(weights.k, PACKED_TILE) + block) * (PACKED_BLOCK_BYTES<BITS> / 16);
}

// What dequantize subtracts, for a code that means 0; side 0 are the first 8 of 16 columns. Both forms are exact: see dequantize.
template <class T, int BITS> KF_INLINE uint32_t zero_offset(int zero, int side) {
    if constexpr (BITS == 8 && std::is_same_v<T, bf16>) return __float_as_uint((float)(zero + (1 << 23)));
    else if constexpr (std::is_same_v<T, bf16>) return pack<bf16>(-(float)(128 + zero), -(float)(128 + zero));
    else if (BITS == 4 && side == 1) return pack<half>(-(float)(64 + zero), -(float)(64 + zero));
    else return pack<half>(-(float)(1024 + zero), -(float)(1024 + zero));
}

namespace packed {

KF_INLINE __half2 as_half2(uint32_t bits) { return *reinterpret_cast<__half2*>(&bits); }
KF_INLINE __nv_bfloat162 as_bf162(uint32_t bits) { return *reinterpret_cast<__nv_bfloat162*>(&bits); }
KF_INLINE uint32_t bits_of(__half2 pair) { return *reinterpret_cast<uint32_t*>(&pair); }
KF_INLINE uint32_t bits_of(__nv_bfloat162 pair) { return *reinterpret_cast<uint32_t*>(&pair); }

}  // namespace packed

// Operand A of one k16 step from the codes of a lane: one word of 4-bit codes. Exact: an OR puts the code under the exponent of 128 (BF16) or 1024 (F16; with
// the codes four bits up it counts 16 times, which the product undoes), and what is too much is subtracted.
template <class T> KF_INLINE void dequantize_4(uint32_t (&a)[4], uint32_t codes, const uint32_t (&offsets)[2]) {
    using namespace packed;
    if constexpr (std::is_same_v<T, bf16>) {
        const __nv_bfloat162 one = as_bf162(0x3f803f80);
#pragma unroll
        for (int i = 0; i < 4; i++) a[i] = bits_of(__hfma2(as_bf162(and_or(codes >> 4 * i, 0x000f000f, 0x43004300)), one, as_bf162(offsets[i & 1])));
    } else {
        const __half2 sixteenth = as_half2(0x2c002c00);
#pragma unroll
        for (int i = 0; i < 4; i += 2) {
            uint32_t low = and_or(codes >> 4 * i, 0x000f000f, 0x64006400), high = and_or(codes >> 4 * i, 0x00f000f0, 0x64006400);
            a[i] = bits_of(__hadd2_rn(as_half2(low), as_half2(offsets[0])));
            a[i + 1] = bits_of(__hfma2(as_half2(high), sixteenth, as_half2(offsets[1])));
        }
    }
}

// The same from two words of 8-bit codes: bytes under the exponent of 1024 (F16), or of 2^23 as floats, whose upper halves are BF16 (8 bits, nothing is lost).
template <class T> KF_INLINE void dequantize_8(uint32_t (&a)[4], const uint32_t (&codes)[2], const uint32_t (&offsets)[2]) {
    using namespace packed;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        uint32_t word = codes[i >> 1];
        if constexpr (std::is_same_v<T, bf16>) {
            float zero = __uint_as_float(offsets[i & 1]);
            float low = __fsub_rn(__uint_as_float(__byte_perm(word, 0x4b000000, i & 1 ? 0x7442 : 0x7440)), zero);
            float high = __fsub_rn(__uint_as_float(__byte_perm(word, 0x4b000000, i & 1 ? 0x7443 : 0x7441)), zero);
            a[i] = __byte_perm(__float_as_uint(low), __float_as_uint(high), 0x7632);
        } else {
            a[i] = bits_of(__hadd2_rn(as_half2(__byte_perm(word, 0x64646464, i & 1 ? 0x4342 : 0x4140)), as_half2(offsets[i & 1])));
        }
    }
}

// Operand A of a k16 step of the vector that a lane has for 16 columns: step is 0 .. PACKED_STEPS - 1.
template <class T, int BITS> KF_INLINE void dequantize(uint32_t (&a)[4], const uint4& vector, int step, const uint32_t (&offsets)[2]) {
    if constexpr (BITS == 4) {
        dequantize_4<T>(a, step == 0 ? vector.x : step == 1 ? vector.y : step == 2 ? vector.z : vector.w, offsets);
    } else {
        uint32_t codes[2] = {step == 0 ? vector.x : vector.z, step == 0 ? vector.y : vector.w};
        dequantize_8<T>(a, codes, offsets);
    }
}

}  // namespace kf
