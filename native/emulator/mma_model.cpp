// mma_model.cpp - the accumulation of mma_model.h in 32-bit integers, sixteen outputs at a time.
//
// Every operand is a signed significand of 11 bits and an exponent; a product is an exact integer of 22 bits and the sum of the exponents.
// Products are not normalised: 1.5 * 1.5 has exponent 0. Subnormals keep the smallest exponent of their type. A zero takes no part in the
// choice of the largest exponent; the addend, zero included, has at least exponent -126. The result is rounded toward zero, subnormal results
// included, and overflows to infinity. Infinities and NaN follow IEEE; the NaN is 0x7fffffff.
#pragma GCC diagnostic ignored "-Wpsabi"  // vectors never cross a call out of this file
#include "mma_model.h"

#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>

namespace kf {
namespace {

constexpr int M = 16, N = 8;
constexpr int no_exponent = -4096;  // of a zero

// One value for each of the 16 rows; the compiler maps it to whatever vectors the machine has.
using Lanes [[gnu::vector_size(64)]] = int32_t;
using ShortLanes [[gnu::vector_size(32)]] = int16_t;
// Eight of them, while they are 64 bits wide.
using HalfLanes [[gnu::vector_size(32)]] = int32_t;
using HalfFloats [[gnu::vector_size(32)]] = float;
using Doubles [[gnu::vector_size(64)]] = double;
using Longs [[gnu::vector_size(64)]] = int64_t;

struct Format {
    int fraction_bits, bias;
    static constexpr Format of(MmaType type) { return type == MmaType::F16 ? Format{10, 15} : Format{7, 127}; }
};

// The operands of one instruction. Value = significand * 2^(exponent - 10), with 11 bits of significand for both types.
template <int K>
struct Terms {
    Lanes a_significand[K], a_exponent[K];
    alignas(64) int32_t b_significand[N][M], b_exponent[N][M];
    bool a_special = false, b_special = false;  // an infinity or NaN is among them
};

template <class To, class From>
inline To load(const From* values) {
    To result;
    std::memcpy(&result, values, sizeof result);
    return result;
}

inline bool any(const Lanes& lanes) {
    int32_t all = 0;
    for (int m = 0; m < M; m++) all |= lanes[m];
    return all != 0;
}

float widen(uint16_t bits, MmaType type) {
    if (type == MmaType::BF16) return std::bit_cast<float>(uint32_t(bits) << 16);
    uint32_t sign = uint32_t(bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 1023;
    if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000 | fraction << 13);
    float magnitude = exponent ? std::bit_cast<float>((exponent + 112) << 23 | fraction << 13) : float(fraction) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
}

// Splits sixteen numbers; leaves all ones in special where one is an infinity or NaN.
inline void split(const uint16_t* numbers, Format format, Lanes& significand, Lanes& exponent, Lanes& special) {
    Lanes bits = __builtin_convertvector(load<ShortLanes>(numbers), Lanes) & 0xFFFF;
    const int32_t top = (1 << (15 - format.fraction_bits)) - 1, implicit = 1 << format.fraction_bits;
    Lanes e = bits >> format.fraction_bits & top;
    Lanes magnitude = (bits & (implicit - 1)) | (e != 0 ? Lanes{} + implicit : Lanes{});
    magnitude = magnitude << (10 - format.fraction_bits);
    significand = (bits & 0x8000) != 0 ? -magnitude : magnitude;
    exponent = magnitude != 0 ? (e != 0 ? e : Lanes{} + 1) - format.bias : Lanes{} + no_exponent;
    special = special | (e == top);
}

template <int K>
void read_a(MmaType type, const uint16_t* a, Terms<K>& terms) {
    Lanes special{};
    uint16_t columns[K][M];
    for (int m = 0; m < M; m++)
        for (int k = 0; k < K; k++) columns[k][m] = a[m * K + k];
    for (int k = 0; k < K; k++) split(columns[k], Format::of(type), terms.a_significand[k], terms.a_exponent[k], special);
    terms.a_special = any(special);
}

template <int K>
void read_b(MmaType type, const uint16_t* b, Terms<K>& terms) {
    Lanes special{};
    uint16_t row[M] = {};
    for (int n = 0; n < N; n++) {
        Lanes significand, exponent;
        std::memcpy(row, b + n * K, K * sizeof *b);
        split(row, Format::of(type), significand, exponent, special);
        std::memcpy(terms.b_significand[n], &significand, sizeof significand);
        std::memcpy(terms.b_exponent[n], &exponent, sizeof exponent);
    }
    terms.b_special = any(special);
}

// Adds the magnitude shifted right, with its sign: rounds toward zero. Shifts of 31 and more leave nothing.
inline void add_shifted(Lanes& sum, const Lanes& value, const Lanes& shift) {
    Lanes sign = value >> 31, limited = shift < 31 ? shift : Lanes{} + 31;
    Lanes magnitude = ((value ^ sign) - sign) >> limited;
    sum += (magnitude ^ sign) - sign;
}

// (low + high) * 2^exponent, toward zero; eight results. What lies below the last bit of F32, 2^-149, goes first; then what 24 bits cannot hold.
inline HalfFloats round_toward_zero(const int32_t* low, const int32_t* high, const int32_t* exponents) {
    Longs sum = __builtin_convertvector(load<HalfLanes>(low), Longs) + __builtin_convertvector(load<HalfLanes>(high), Longs);
    Longs exponent = __builtin_convertvector(load<HalfLanes>(exponents), Longs);
    Longs sign = sum >> 63, drop = exponent < -149 ? -149 - exponent : Longs{}, power = (exponent + 1023) << 52;
    Doubles value = __builtin_convertvector((((sum ^ sign) - sign) >> drop) << drop, Doubles) * load<Doubles>(&power);
    Longs bits = (load<Longs>(&value) & ~int64_t(0x1FFFFFFF)) | (sign & INT64_MIN);
    return __builtin_convertvector(load<Doubles>(&bits), HalfFloats);
}

// One fused step for column n over k in [First, First + Count): d[m] += sum over k, aligned to F fraction bits. Says where c is an infinity or NaN.
template <int First, int Count, int F, int K>
void column(const Terms<K>& terms, int n, float* d, Lanes& special) {
    Lanes bits = load<Lanes>(d);
    Lanes e = bits >> 23 & 255, magnitude = (bits & 0x7FFFFF) | (e != 0 ? Lanes{} + 0x800000 : Lanes{});
    Lanes addend = (bits < 0 ? -magnitude : magnitude) << (F - 23);
    Lanes addend_exponent = (e != 0 ? e : Lanes{} + 1) - 127;
    special = special | (e == 255);

    Lanes largest = addend_exponent;
    for (int k = First; k < First + Count; k++) {
        Lanes exponent = terms.a_exponent[k] + terms.b_exponent[n][k];
        largest = exponent > largest ? exponent : largest;
    }
    // A product has 20 fraction bits and less than 22 + (F - 20) <= 27 bits in all: eight of them and the addend fit.
    Lanes sums[2] = {};
    add_shifted(sums[0], addend, largest - addend_exponent);
    auto add_eight = [&](int first, Lanes& sum) {
        for (int k = first; k < first + 8; k++) {
            Lanes exponent = terms.a_exponent[k] + terms.b_exponent[n][k];
            add_shifted(sum, (terms.a_significand[k] * terms.b_significand[n][k]) << (F - 20), largest - exponent);
        }
    };
    add_eight(First, sums[0]);
    if constexpr (Count == 16) add_eight(First + 8, sums[1]);
    alignas(64) int32_t low[M], high[M], exponents[M];
    largest = largest - F;
    std::memcpy(low, &sums[0], sizeof low);
    std::memcpy(high, &sums[1], sizeof high);
    std::memcpy(exponents, &largest, sizeof exponents);
    for (int m = 0; m < M; m += 8) {
        HalfFloats result = round_toward_zero(low + m, high + m, exponents + m);
        std::memcpy(d + m, &result, sizeof result);
    }
}

// Replaces what infinities and NaN touch. Sums in double: no finite operands can overflow there.
template <int K>
void patch_special(MmaType type, const uint16_t* a, const uint16_t* b, int count, const float c[N][M], float d[N][M]) {
    for (int n = 0; n < N; n++)
        for (int m = 0; m < M; m++) {
            double sum = c[n][m];
            for (int k = 0; k < count; k++) sum += double(widen(a[m * K + k], type)) * widen(b[n * K + k], type);
            if (std::isnan(sum)) d[n][m] = std::bit_cast<float>(0x7FFFFFFFu);
            else if (std::isinf(sum)) d[n][m] = float(sum);
        }
}

template <int First, int Count, int F, int K>
void step(const Terms<K>& terms, MmaType type, const uint16_t* a, const uint16_t* b, float d[N][M]) {
    float c[N][M];
    std::memcpy(c, d, sizeof c);
    Lanes special{};
    for (int n = 0; n < N; n++) column<First, Count, F>(terms, n, d[n], special);
    if (terms.a_special || terms.b_special || any(special)) patch_special<K>(type, a + First, b + First, Count, c, d);
}

// a is in the terms already.
template <int K>
void sums(Terms<K>& terms, MmaType type, Architecture architecture, const uint16_t* a, const uint16_t* b, float d[N][M]) {
    read_b(type, b, terms);
    if (architecture == Architecture::Sm90) return step<0, K, 25>(terms, type, a, b, d);
    step<0, 8, 24>(terms, type, a, b, d);
    if constexpr (K == 16) step<8, 8, 24>(terms, type, a, b, d);
}

// Calls the body on the accumulators with the row running fastest.
template <class Body>
void transposed(const float* c, float* d, Body body) {
    alignas(64) float columns[N][M];
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) columns[n][m] = c[m * N + n];
    body(columns);
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) d[m * N + n] = columns[n][m];
}

template <int K>
void multiply(MmaType type, Architecture architecture, const uint16_t* a, const uint16_t* b, const float* c, float* d) {
    Terms<K> terms;
    read_a(type, a, terms);
    transposed(c, d, [&](float columns[N][M]) { sums(terms, type, architecture, a, b, columns); });
}

}  // namespace

void mma_m16n8k16(MmaType type, Architecture architecture, const uint16_t a[16 * 16], const uint16_t b[8 * 16], const float c[16 * 8], float d[16 * 8]) {
    multiply<16>(type, architecture, a, b, c, d);
}

void mma_m16n8k8(MmaType type, Architecture architecture, const uint16_t a[16 * 8], const uint16_t b[8 * 8], const float c[16 * 8], float d[16 * 8]) {
    multiply<8>(type, architecture, a, b, c, d);
}

void mma_m16k16(MmaType type, Architecture architecture, const uint16_t a[16 * 16], const uint16_t* b, int columns, float* d) {
    Terms<16> terms;
    read_a(type, a, terms);
    for (int n = 0; n < columns; n += N) sums(terms, type, architecture, a, b + n * 16, reinterpret_cast<float(*)[M]>(d + n * M));
}

}  // namespace kf
