// mma_model_test.cpp - the vectorised tensor-core model against a plain one, written from the definition, on random and adversarial operands.
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdint>
#include <ctime>
#include <random>
#include <vector>

#include "../mma_model.h"

namespace {

using kf::Architecture;
using kf::MmaType;

float value_of(uint16_t bits, MmaType type) {
    if (type == MmaType::BF16) return std::bit_cast<float>(uint32_t(bits) << 16);
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    float magnitude = exponent == 31 ? (fraction ? NAN : INFINITY) : exponent ? std::ldexp(float(1024 + fraction), exponent - 25) : std::ldexp(float(fraction), -24);
    return bits >> 15 ? -magnitude : magnitude;
}

int exponent_of(double value, int smallest) {
    int exponent;
    std::frexp(value, &exponent);
    return std::max(exponent - 1, smallest);
}

// Toward zero, by finding the highest bit of the sum.
float round_toward_zero(__int128 sum, int exponent) {
    bool negative = sum < 0;
    unsigned __int128 magnitude = negative ? -sum : sum;
    int bits = 0;
    while (bits < 128 && magnitude >> bits) bits++;
    int drop = std::max(bits - 24, -149 - exponent);
    uint32_t kept = drop > 0 ? uint32_t(magnitude >> drop) : uint32_t(magnitude);
    float result = std::ldexp(float(kept), exponent + std::max(drop, 0));
    return negative ? -result : result;
}

// c + sum of a[k] * b[k], fused, as mma_model.h defines it.
float fused(MmaType type, const uint16_t* a, const uint16_t* b, int count, float c, int fraction_bits) {
    int smallest = type == MmaType::F16 ? -14 : -126, largest = exponent_of(c, -126);
    if (c == 0) largest = -126;
    double special = c;
    for (int k = 0; k < count; k++) {
        double x = value_of(a[k], type), y = value_of(b[k], type);
        special += x * y;
        if (x * y != 0) largest = std::max(largest, exponent_of(x, smallest) + exponent_of(y, smallest));
    }
    if (std::isnan(special)) return std::bit_cast<float>(0x7FFFFFFFu);
    if (std::isinf(special)) return float(special);
    __int128 sum = __int128(std::trunc(std::ldexp(double(c), fraction_bits - largest)));
    for (int k = 0; k < count; k++)
        sum += __int128(std::trunc(std::ldexp(double(value_of(a[k], type)) * value_of(b[k], type), fraction_bits - largest)));
    return round_toward_zero(sum, largest - fraction_bits);
}

struct Operands {
    std::vector<uint16_t> a = std::vector<uint16_t>(256), b = std::vector<uint16_t>(128);
    std::vector<float> c = std::vector<float>(128);
};

// Kinds: ordinary numbers, exponents spread by 40, arbitrary bits without infinities, arbitrary bits, all tiny.
Operands draw(std::mt19937_64& random, MmaType type, int kind) {
    auto narrow = [&](float x) -> uint16_t {
        if (type == MmaType::BF16) return uint16_t(std::bit_cast<uint32_t>(x) >> 16);
        int exponent;
        float fraction = std::frexp(std::fabs(x), &exponent);
        if (exponent < -13) return uint16_t(std::ldexp(fraction, exponent + 24)) | (x < 0 ? 0x8000 : 0);
        return uint16_t((std::min(exponent, 16) + 14) << 10 | (uint32_t(fraction * 2048) & 1023)) | (x < 0 ? 0x8000 : 0);
    };
    auto number = [&](int spread, int centre) {
        float x = std::ldexp(1.0f + float(random() % (1 << 23)) * 0x1p-23f, centre + (spread ? int(random() % (2 * spread + 1)) - spread : 0));
        return random() & 1 ? x : -x;
    };
    auto bits = [&](bool special) {
        uint16_t x = uint16_t(random()), top = type == MmaType::F16 ? 0x7C00 : 0x7F80;
        return !special && (x & top) == top ? uint16_t(x ^ 0x4000) : x;
    };
    Operands o;
    for (auto* v : {&o.a, &o.b})
        for (uint16_t& x : *v) {
            x = kind == 0 ? narrow(number(2, 0)) : kind == 1 ? narrow(number(20, type == MmaType::F16 ? -4 : 0)) : kind == 2 ? bits(false)
              : kind == 3 ? (random() % 16 ? narrow(number(3, 0)) : bits(true)) : type == MmaType::F16 ? uint16_t(random() & 0x83FF) : narrow(number(4, -66));
            if (random() % 8 == 0) x &= 0x8000;
        }
    for (float& x : o.c) {
        x = kind == 1 ? number(40, 0) : kind == 4 ? std::bit_cast<float>(uint32_t(random()) & 0x81FFFFFF) : kind == 3 && random() % 16 == 0 ? std::bit_cast<float>(uint32_t(random()) | 0x7F800000) : number(4, 0);
        if (random() % 8 == 0) x = 0;
    }
    return o;
}

int compare(MmaType type, Architecture architecture, int depth, const Operands& o, int kind) {
    std::vector<float> d(128);
    (depth == 16 ? kf::mma_m16n8k16 : kf::mma_m16n8k8)(type, architecture, o.a.data(), o.b.data(), o.c.data(), d.data());
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < 8; n++) {
            const uint16_t *a = &o.a[m * depth], *b = &o.b[n * depth];
            float expected = o.c[m * 8 + n];
            if (architecture == Architecture::Sm90) expected = fused(type, a, b, depth, expected, 25);
            else
                for (int k = 0; k < depth; k += 8) expected = fused(type, a + k, b + k, 8, expected, 24);
            if (std::bit_cast<uint32_t>(expected) == std::bit_cast<uint32_t>(d[m * 8 + n])) continue;
            std::printf("%s k%d sm_%d kind %d, element %d,%d: expected %a, got %a\n", type == MmaType::F16 ? "f16" : "bf16", depth, int(architecture), kind, m, n, expected, d[m * 8 + n]);
            return 1;
        }
    return 0;
}

void measure(const char* name, Architecture architecture) {
    std::mt19937_64 random(1);
    Operands o = draw(random, MmaType::F16, 0);
    std::vector<float> d = o.c;
    std::clock_t start = std::clock();
    constexpr int calls = 200000;
    for (int i = 0; i < calls; i++) kf::mma_m16n8k16(MmaType::F16, architecture, o.a.data(), o.b.data(), o.c.data(), d.data());
    std::printf("%s: %.0f ns of CPU time per m16n8k16\n", name, double(std::clock() - start) / CLOCKS_PER_SEC * 1e9 / calls);
}

}  // namespace

int main() {
    std::mt19937_64 random(20240611);
    int failures = 0, cases = 0;
    for (int round = 0; round < 400; round++)
        for (MmaType type : {MmaType::F16, MmaType::BF16})
            for (Architecture architecture : {Architecture::Sm80, Architecture::Sm90})
                for (int depth : {8, 16})
                    for (int kind = 0; kind < 5; kind++, cases++) failures += compare(type, architecture, depth, draw(random, type, kind), kind);
    measure("sm_80", Architecture::Sm80);
    measure("sm_90", Architecture::Sm90);
    std::printf("%d of %d instructions differ\n", failures, cases);
    return failures ? 1 : 0;
}
