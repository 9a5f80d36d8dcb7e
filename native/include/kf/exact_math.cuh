// exact_math.cuh - exponential and logarithm as fixed sequences of rounded operations: the same bits as LaneMath.cs on
// the CPU.
//
// The approximate instructions of ptx.cuh are faster, but only a GPU computes their bits. These are for results that
// CPU and CUDA must share: which token is drawn.
#pragma once

namespace kf {

// value * 2^exponent for whole exponents in -252 .. 254, rounded once.
KF_INLINE float scale_by_power_of_two(float value, float exponent) {
    int whole = (int)exponent, half = whole >> 1;
    value = __fmul_rn(value, __int_as_float((half + 127) << 23));
    return __fmul_rn(value, __int_as_float((whole - half + 127) << 23));
}

// e^x: 2^n times a polynomial in x - n * ln 2. Exactly 1 at 0, 0 below -103.98, infinity above 88.73; NaN stays NaN.
KF_INLINE float exact_exp(float x) {
    x = -104.0f > x ? -104.0f : x;
    x = 89.0f < x ? 89.0f : x;
    constexpr float MAGIC = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
    float n = __fsub_rn(__fmaf_rn(x, 1.44269504f, MAGIC), MAGIC);
    float r = __fmaf_rn(n, -0.693359375f, x);
    r = __fmaf_rn(n, 2.12194440e-4f, r);

    float p = __fmaf_rn(1.9875691500e-4f, r, 1.3981999507e-3f);
    p = __fmaf_rn(p, r, 8.3334519073e-3f);
    p = __fmaf_rn(p, r, 4.1665795894e-2f);
    p = __fmaf_rn(p, r, 1.6666665459e-1f);
    p = __fmaf_rn(p, r, 5.0000001201e-1f);
    p = __fadd_rn(__fmaf_rn(p, __fmul_rn(r, r), r), 1.0f);
    return scale_by_power_of_two(p, n);
}

// x = (1 + fraction) * 2^exponent with 1 + fraction between sqrt(1/2) and sqrt(2), for positive normal x.
struct Reduced {
    float fraction, exponent;
};

KF_INLINE Reduced reduce_to_fraction(float x) {
    uint32_t bits = __float_as_uint(x);
    float exponent = (float)((int)(bits >> 23) - 127);
    float fraction = __uint_as_float((bits & 0x007FFFFF) | 0x3F800000);
    bool is_above = 1.41421356f < fraction;
    return {__fsub_rn(is_above ? __fmul_rn(fraction, 0.5f) : fraction, 1.0f), is_above ? __fadd_rn(exponent, 1.0f) : exponent};
}

// log((1 + fraction) * 2^exponent).
KF_INLINE float log_of(Reduced x) {
    float f = x.fraction;
    float p = __fmaf_rn(7.0376836292e-2f, f, -1.1514610310e-1f);
    p = __fmaf_rn(p, f, 1.1676998740e-1f);
    p = __fmaf_rn(p, f, -1.2420140846e-1f);
    p = __fmaf_rn(p, f, 1.4249322787e-1f);
    p = __fmaf_rn(p, f, -1.6668057665e-1f);
    p = __fmaf_rn(p, f, 2.0000714765e-1f);
    p = __fmaf_rn(p, f, -2.4999993993e-1f);
    p = __fmaf_rn(p, f, 3.3333331174e-1f);
    float square = __fmul_rn(f, f);
    float rest = __fmaf_rn(x.exponent, -2.12194440e-4f, __fmul_rn(__fmul_rn(p, f), square));
    rest = __fmaf_rn(square, -0.5f, rest);
    return __fmaf_rn(x.exponent, 0.693359375f, __fadd_rn(f, rest));
}

// Natural logarithm of positive normal numbers.
KF_INLINE float exact_log(float x) { return log_of(reduce_to_fraction(x)); }

// -log(1 - v) for v in (0, 1), given v and 1 - v, each with its own full precision.
KF_INLINE float exact_negative_log_of_rest(float v, float rest) {
    Reduced reduced = v < 0.25f ? Reduced{-v, 0.0f} : reduce_to_fraction(rest);
    return __fsub_rn(0.0f, log_of(reduced));
}

// x times its sigmoid.
KF_INLINE float silu(float x) { return __fdiv_rn(x, __fadd_rn(1.0f, exact_exp(-x))); }

}  // namespace kf
