// features.cpp - what of this library the machine can run, by cpuid. Compiled for any x86-64.
#include "kernelforge_cpu.h"

#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif

namespace {

struct Registers {
    uint32_t a, b, c, d;
};

Registers cpuid(uint32_t leaf, uint32_t part) {
    Registers found = {};
#if defined(_MSC_VER)
    int words[4];
    __cpuid(words, 0);
    if ((uint32_t)words[0] < leaf) return found;
    __cpuidex(words, (int)leaf, (int)part);
    found = {(uint32_t)words[0], (uint32_t)words[1], (uint32_t)words[2], (uint32_t)words[3]};
#else
    __get_cpuid_count(leaf, part, &found.a, &found.b, &found.c, &found.d);
#endif
    return found;
}

// The registers that the operating system saves; needs OSXSAVE.
uint64_t saved_state() {
#if defined(_MSC_VER)
    return _xgetbv(0);
#else
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return ((uint64_t)high << 32) | low;
#endif
}

bool has(uint32_t word, int bit) { return (word >> bit & 1) != 0; }

} // namespace

KF_CPU_EXPORT int32_t kf_cpu_abi(void) { return KF_CPU_ABI; }

KF_CPU_EXPORT uint32_t kf_cpu_features(void) {
    constexpr uint64_t vectors = 0xE6; // xmm, ymm, mask registers, both halves of zmm
    if (!has(cpuid(1, 0).c, 27) || (saved_state() & vectors) != vectors) return 0;
    Registers seven = cpuid(7, 0);
    bool avx512 = has(seven.b, 16) && has(seven.b, 30) && has(seven.b, 31); // F, BW, VL
    if (!avx512) return 0;
    return (has(cpuid(7, 1).a, 5) ? KF_CPU_BF16 : 0) | (has(seven.c, 11) ? KF_CPU_INT8 : 0);
}
