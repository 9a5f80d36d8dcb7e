// numbers.h - the number types of PTX: how a register value becomes a C++ number and back.
//
// Every type names the Storage in a register and the Math that operations see. F32 results that are NaN become the one NaN that GPUs give.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "warp.h"

namespace kf {

constexpr uint32_t canonical_nan = 0x7fffffff;

inline float canonical(float x) { return x != x ? as_float(canonical_nan) : x; }

// Subnormal values become zero of the same sign.
inline float flush(float x) {
    uint32_t u = as_bits(x);
    return (u & 0x7f800000) == 0 ? as_float(u & 0x80000000) : x;
}

inline float half_to_float(uint16_t h) {
    float magnitude = as_float(static_cast<uint32_t>(h & 0x7fff) << 13) * 0x1p112f;
    uint32_t u = as_bits(magnitude);
    u = (h & 0x7c00) == 0x7c00 ? u | 0x7f800000 : u;
    return as_float(u | static_cast<uint32_t>(h & 0x8000) << 16);
}

// To nearest even.
inline uint16_t float_to_half(float x) {
    uint32_t bits = as_bits(x), u = bits & 0x7fffffff, sign = bits >> 16 & 0x8000;
    uint32_t subnormal = as_bits(as_float(u) + 0.5f) - 0x3f000000;
    uint32_t normal = (u + 0xc8000fff + (u >> 13 & 1)) >> 13;
    uint32_t special = u > 0x7f800000 ? 0x7fff : 0x7c00;
    uint32_t result = u < 0x38800000 ? subnormal : u < 0x47800000 ? normal : special;
    return static_cast<uint16_t>(u > 0x7f800000 ? 0x7fff : sign | result);
}

inline float bfloat_to_float(uint16_t b) { return as_float(static_cast<uint32_t>(b) << 16); }

inline uint16_t float_to_bfloat(float x) {
    uint32_t u = as_bits(x);
    uint32_t rounded = (u + 0x7fff + (u >> 16 & 1)) >> 16;
    return static_cast<uint16_t>((u & 0x7fffffff) > 0x7f800000 ? 0x7fff : rounded);
}

template <class T> struct Plain {
    using Storage = T;
    using Math = T;
    static Math load(Storage s) { return s; }
    static Storage store(Math m) { return m; }
};
struct Single : Plain<float> {
    static float store(float m) { return canonical(m); }
};
struct SingleFlushed : Plain<float> {
    static float load(float s) { return flush(s); }
    static float store(float m) { return canonical(flush(m)); }
};
struct Half {
    using Storage = uint16_t;
    using Math = float;
    static float load(uint16_t s) { return half_to_float(s); }
    static uint16_t store(float m) { return float_to_half(m); }
};
struct Bfloat {
    using Storage = uint16_t;
    using Math = float;
    static float load(uint16_t s) { return bfloat_to_float(s); }
    static uint16_t store(float m) { return float_to_bfloat(m); }
};

// assign for registers that hold two 16-bit values per lane.
template <class F> inline void assign_pairs(Mask active, uint16_t* d, F&& f) {
    uint16_t value[64];
    for (int e = 0; e < 64; ++e) value[e] = f(e);
    for (int e = 0; e < 64; ++e) d[e] = active >> (e / 2) & 1 ? value[e] : d[e];
}

template <class N, bool Pairs, class F> inline void assign_numbers(Warp& w, const Instruction& i, F&& f) {
    if constexpr (Pairs) assign_pairs(w.active, w.out<uint16_t>(i.d), f);
    else assign(w.active, w.out<typename N::Storage>(i.d), f);
}

template <class N, bool Pairs, class Op> void unary(Warp& w, const Instruction& i) {
    const auto* a = w.in<typename N::Storage>(i.a);
    assign_numbers<N, Pairs>(w, i, [=](int e) { return N::store(Op::apply(N::load(a[e]))); });
}

template <class N, bool Pairs, class Op> void binary(Warp& w, const Instruction& i) {
    const auto *a = w.in<typename N::Storage>(i.a), *b = w.in<typename N::Storage>(i.b);
    assign_numbers<N, Pairs>(w, i, [=](int e) { return N::store(Op::apply(N::load(a[e]), N::load(b[e]))); });
}

template <class N, bool Pairs, class Op> void ternary(Warp& w, const Instruction& i) {
    const auto *a = w.in<typename N::Storage>(i.a), *b = w.in<typename N::Storage>(i.b), *c = w.in<typename N::Storage>(i.c);
    assign_numbers<N, Pairs>(w, i, [=](int e) { return N::store(Op::apply(N::load(a[e]), N::load(b[e]), N::load(c[e]))); });
}

}  // namespace kf
