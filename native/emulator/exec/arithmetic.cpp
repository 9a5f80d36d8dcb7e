// arithmetic.cpp - add, mul, fma, div, min ... for integers and floating point, and the approximations.
#include <bit>
#include <cfenv>
#include <limits>

#include "builder.h"
#include "numbers.h"

namespace kf {
namespace {

// ---- operations; integers wrap

template <class T> using Unsigned = std::make_unsigned_t<T>;
template <class T> constexpr bool is_integer = std::is_integral_v<T>;

struct Add {
    template <class T> static T apply(T a, T b) {
        if constexpr (is_integer<T>) return static_cast<T>(static_cast<Unsigned<T>>(a) + static_cast<Unsigned<T>>(b));
        else return a + b;
    }
};
struct Subtract {
    template <class T> static T apply(T a, T b) {
        if constexpr (is_integer<T>) return static_cast<T>(static_cast<Unsigned<T>>(a) - static_cast<Unsigned<T>>(b));
        else return a - b;
    }
};
struct Multiply {
    template <class T> static T apply(T a, T b) {
        if constexpr (is_integer<T>) return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
        else return a * b;
    }
};
template <class T> T multiply_high(T a, T b) {
    if constexpr (sizeof(T) == 8) {
        using Wide = std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>;
        return static_cast<T>(static_cast<Wide>(a) * b >> 64);
    } else {
        using Wide = std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>;
        return static_cast<T>(static_cast<Wide>(a) * b >> (8 * sizeof(T)));
    }
}
struct MultiplyHigh {
    template <class T> static T apply(T a, T b) { return multiply_high(a, b); }
};
struct MultiplyAdd {
    template <class T> static T apply(T a, T b, T c) { return Add::apply(Multiply::apply(a, b), c); }
};
struct MultiplyHighAdd {
    template <class T> static T apply(T a, T b, T c) { return Add::apply(multiply_high(a, b), c); }
};
struct Fuse {
    static float apply(float a, float b, float c) { return std::fma(a, b, c); }
    static double apply(double a, double b, double c) { return std::fma(a, b, c); }
};
// a * b + c of 16-bit types, to be rounded once: exact product in double; the sum is rounded to odd where double cannot hold it.
struct FuseNarrow {
    static double sum(float a, float b, float c) {
        double p = static_cast<double>(a) * b, s = p + c;
        double t = s - p, error = (p - (s - t)) + (c - t);
        uint64_t bits = std::bit_cast<uint64_t>(s);
        if (error != 0 && !(bits & 1) && std::isfinite(s)) bits += (error > 0) == (s > 0) ? 1 : -1;
        return std::bit_cast<double>(bits);
    }
    // Double to float to 16 bits rounds twice; rounding to odd in between keeps the result.
    static float apply(float a, float b, float c) {
        double s = sum(a, b, c);
        float f = static_cast<float>(s);
        uint32_t bits = as_bits(f);
        if (static_cast<double>(f) != s && !(bits & 1) && std::isfinite(f) && f != 0) bits += (s > f) == (f > 0) ? 1 : -1;
        return as_float(bits);
    }
};
struct Divide {
    template <class T> static T apply(T a, T b) {
        if constexpr (is_integer<T>) {
            if (b == 0) return static_cast<T>(-1);
            if constexpr (std::is_signed_v<T>)
                if (b == -1) return static_cast<T>(0 - static_cast<Unsigned<T>>(a));
        }
        return a / b;
    }
};
struct Remainder {
    template <class T> static T apply(T a, T b) {
        if (b == 0) return a;
        if constexpr (std::is_signed_v<T>)
            if (b == -1) return 0;
        return a % b;
    }
};
struct Smaller {
    template <class T> static T apply(T a, T b) {
        if constexpr (is_integer<T>) return a < b ? a : b;
        else return a != a ? b : b != b ? a : a == b ? (std::signbit(a) ? a : b) : a < b ? a : b;
    }
};
struct Larger {
    template <class T> static T apply(T a, T b) {
        if constexpr (is_integer<T>) return a > b ? a : b;
        else return a != a ? b : b != b ? a : a == b ? (std::signbit(a) ? b : a) : a > b ? a : b;
    }
};
template <class Op> struct OrNan {
    template <class T> static T apply(T a, T b) { return a != a ? a : b != b ? b : Op::apply(a, b); }
};
struct Absolute {
    template <class T> static T apply(T a) {
        if constexpr (is_integer<T>) return a < 0 ? static_cast<T>(0 - static_cast<Unsigned<T>>(a)) : a;
        else return std::fabs(a);
    }
};
struct Negative {
    template <class T> static T apply(T a) {
        if constexpr (is_integer<T>) return static_cast<T>(0 - static_cast<Unsigned<T>>(a));
        else return -a;
    }
};
struct AbsoluteDifference {
    template <class T> static T apply(T a, T b, T c) { return static_cast<T>(static_cast<Unsigned<T>>(c) + (a > b ? static_cast<Unsigned<T>>(a) - static_cast<Unsigned<T>>(b) : static_cast<Unsigned<T>>(b) - static_cast<Unsigned<T>>(a))); }
};
template <class Op> struct Saturated {
    template <class T> static T limit(T r) {
        if constexpr (!is_integer<T>) return r > 0 ? (r < 1 ? r : T(1)) : T(0);
        else return r;
    }
    template <class T> static T apply(T a) { return limit(Op::apply(a)); }
    template <class T> static T apply(T a, T b) {
        if constexpr (std::is_same_v<T, int32_t>) {
            int64_t r = std::is_same_v<Op, Add> ? int64_t(a) + b : int64_t(a) - b;
            return static_cast<T>(r > INT32_MAX ? INT32_MAX : r < INT32_MIN ? INT32_MIN : r);
        } else return limit(Op::apply(a, b));
    }
    template <class T> static T apply(T a, T b, T c) { return limit(Op::apply(a, b, c)); }
};
template <class Op> struct Rectified {
    template <class T> static T apply(T a, T b, T c) { T r = Op::apply(a, b, c); return r > 0 ? r : r != r ? r : T(0); }
};

// Approximations are the correctly rounded results, by way of double.
template <double (*F)(double)> struct Approximate {
    static float apply(float a) { return static_cast<float>(F(a)); }
    static double apply(double a) { return F(a); }
};
double logarithm(double x) { return std::log2(x); }
double sine(double x) { return std::sin(x); }
double cosine(double x) { return std::cos(x); }
double hyperbolic_tangent(double x) { return std::tanh(x); }

// 2^x for the float range, in vectors: x = n + r with |r| <= 1/2, a polynomial for 2^r with error below 2^-41, n into the exponent.
struct PowerOfTwo {
    static float apply(float a) {
        double x = a < -1000 ? -1000.0 : a > 1000 ? 1000.0 : static_cast<double>(a);
        double shifted = x + 0x1.8p52, n = shifted - 0x1.8p52, r = (x - n) * 0.6931471805599453;
        double p = 1.0 / 3628800;
        p = p * r + 1.0 / 362880;
        p = p * r + 1.0 / 40320;
        p = p * r + 1.0 / 5040;
        p = p * r + 1.0 / 720;
        p = p * r + 1.0 / 120;
        p = p * r + 1.0 / 24;
        p = p * r + 1.0 / 6;
        p = p * r + 0.5;
        p = p * r + 1.0;
        p = p * r + 1.0;
        uint64_t exponent = (std::bit_cast<uint64_t>(shifted) + 1023) << 52;
        return a != a ? a : static_cast<float>(p * std::bit_cast<double>(exponent));
    }
};
struct Root {
    template <class T> static T apply(T a) { return std::sqrt(a); }
};
struct Reciprocal {
    template <class T> static T apply(T a) { return 1 / a; }
};
struct ReciprocalRoot {
    static float apply(float a) { return static_cast<float>(1 / std::sqrt(static_cast<double>(a))); }
    static double apply(double a) { return 1 / std::sqrt(a); }
};
struct CopySign {
    template <class T> static T apply(T a, T b) { return std::copysign(b, a); }
};

// ---- tables by type

// The handler of an operation with one, two or three sources.
template <class N, bool Pairs, class Op, int Sources> constexpr Handler form() {
    if constexpr (Sources == 1) return unary<N, Pairs, Op>;
    else if constexpr (Sources == 2) return binary<N, Pairs, Op>;
    else return ternary<N, Pairs, Op>;
}

template <class Op, int Sources> Handler integer_form(Type t) {
    switch (t) {
        case Type::U16: return form<Plain<uint16_t>, false, Op, Sources>();
        case Type::S16: return form<Plain<int16_t>, false, Op, Sources>();
        case Type::U32: case Type::B32: return form<Plain<uint32_t>, false, Op, Sources>();
        case Type::S32: return form<Plain<int32_t>, false, Op, Sources>();
        case Type::U64: case Type::B64: return form<Plain<uint64_t>, false, Op, Sources>();
        case Type::S64: return form<Plain<int64_t>, false, Op, Sources>();
        default: return nullptr;
    }
}

template <class Op, int Sources> Handler wide_float_form(Type t, bool flushed) {
    if (t == Type::F32) return flushed ? form<SingleFlushed, false, Op, Sources>() : form<Single, false, Op, Sources>();
    return t == Type::F64 ? form<Plain<double>, false, Op, Sources>() : nullptr;
}

template <class Op, int Sources> Handler narrow_float_form(Type t) {
    switch (t) {
        case Type::F16: return form<Half, false, Op, Sources>();
        case Type::BF16: return form<Bfloat, false, Op, Sources>();
        case Type::F16x2: return form<Half, true, Op, Sources>();
        case Type::BF16x2: return form<Bfloat, true, Op, Sources>();
        default: return nullptr;
    }
}

template <class Op, int Sources> Handler float_form(Type t, bool flushed) {
    Handler h = wide_float_form<Op, Sources>(t, flushed);
    return h ? h : narrow_float_form<Op, Sources>(t);
}

bool is_float(Type t) { return t == Type::F16 || t == Type::BF16 || t == Type::F16x2 || t == Type::BF16x2 || t == Type::F32 || t == Type::F64; }

// ---- decoding

// Runs another handler with the rounding mode in flags.
void with_rounding(Warp& w, const Instruction& i) {
    std::fesetround(static_cast<int>(i.flags));
    std::atomic_signal_fence(std::memory_order_seq_cst);
    reinterpret_cast<Handler>(i.immediate)(w, i);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    std::fesetround(FE_TONEAREST);
}

Handler rounded(Builder& b, Handler handler, int mode) {
    constexpr int modes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
    if (mode <= 0 || !handler) return handler;
    b.i.flags = static_cast<uint32_t>(modes[mode]);
    b.i.immediate = reinterpret_cast<int64_t>(handler);
    return with_rounding;
}

void operands(Builder& b, Type t, int sources) {
    if (b.count() != static_cast<size_t>(sources) + 1) b.fail("'" + b.statement().text() + "' takes " + std::to_string(sources + 1) + " operands");
    b.i.d = b.def(0, t);
    b.i.a = b.use(1, t);
    if (sources > 1) b.i.b = b.use(2, t);
    if (sources > 2) b.i.c = b.use(3, t);
}

int take_rounding(Builder& b) { return b.choose({"rn", "rz", "rm", "rp"}); }

void decode_carry(Builder& b);

template <class Op> void decode_add(Builder& b) {
    if (b.has("cc")) return decode_carry(b);
    int mode = take_rounding(b);
    bool flushed = b.take("ftz"), saturated = b.take("sat");
    Type t = b.type();
    operands(b, t, 2);
    Handler h = !is_float(t)     ? (saturated ? binary<Plain<int32_t>, false, Saturated<Op>> : integer_form<Op, 2>(t))
                : saturated      ? float_form<Saturated<Op>, 2>(t, flushed)
                                 : float_form<Op, 2>(t, flushed);
    b.emit(rounded(b, h, mode));
}

template <class Narrow, class Wide> void multiply_wide(Warp& w, const Instruction& i) {
    const auto *x = w.in<Narrow>(i.a), *y = w.in<Narrow>(i.b);
    assign(w.active, w.out<Wide>(i.d), [=](int l) { return static_cast<Wide>(static_cast<Wide>(x[l]) * static_cast<Wide>(y[l])); });
}

template <class Narrow, class Wide> void multiply_add_wide(Warp& w, const Instruction& i) {
    const auto *x = w.in<Narrow>(i.a), *y = w.in<Narrow>(i.b);
    const auto* z = w.in<Wide>(i.c);
    assign(w.active, w.out<Wide>(i.d), [=](int l) { return Add::apply(static_cast<Wide>(static_cast<Wide>(x[l]) * static_cast<Wide>(y[l])), z[l]); });
}

void decode_wide(Builder& b, bool adds) {
    Type t = b.type();
    Type wide = t == Type::U16 ? Type::U32 : t == Type::S16 ? Type::S32 : t == Type::U32 ? Type::U64 : t == Type::S32 ? Type::S64 : Type::None;
    if (wide == Type::None) b.unknown();
    b.i.d = b.def(0, wide);
    b.i.a = b.use(1, t);
    b.i.b = b.use(2, t);
    if (adds) b.i.c = b.use(3, wide);
    switch (t) {
        case Type::U16: return b.emit(adds ? multiply_add_wide<uint16_t, uint32_t> : multiply_wide<uint16_t, uint32_t>);
        case Type::S16: return b.emit(adds ? multiply_add_wide<int16_t, int32_t> : multiply_wide<int16_t, int32_t>);
        case Type::U32: return b.emit(adds ? multiply_add_wide<uint32_t, uint64_t> : multiply_wide<uint32_t, uint64_t>);
        default: return b.emit(adds ? multiply_add_wide<int32_t, int64_t> : multiply_wide<int32_t, int64_t>);
    }
}

void decode_mul(Builder& b) {
    if (b.take("wide")) return decode_wide(b, false);
    int part = b.choose({"lo", "hi"}), mode = take_rounding(b);
    bool flushed = b.take("ftz"), saturated = b.take("sat");
    Type t = b.type();
    operands(b, t, 2);
    Handler h = !is_float(t) ? (part == 1 ? integer_form<MultiplyHigh, 2>(t) : integer_form<Multiply, 2>(t))
                : saturated  ? float_form<Saturated<Multiply>, 2>(t, flushed)
                             : float_form<Multiply, 2>(t, flushed);
    b.emit(rounded(b, h, mode));
}

template <bool Sat, bool Relu> Handler fuse(Type t, bool flushed) {
    if constexpr (Relu) return narrow_float_form<Rectified<FuseNarrow>, 3>(t);
    else if constexpr (Sat) {
        Handler h = wide_float_form<Saturated<Fuse>, 3>(t, flushed);
        return h ? h : narrow_float_form<Saturated<FuseNarrow>, 3>(t);
    } else {
        Handler h = wide_float_form<Fuse, 3>(t, flushed);
        return h ? h : narrow_float_form<FuseNarrow, 3>(t);
    }
}

void decode_fma(Builder& b) {
    int mode = take_rounding(b);
    bool flushed = b.take("ftz"), saturated = b.take("sat"), rectified = b.take("relu");
    Type t = b.type();
    operands(b, t, 3);
    Handler h = rectified ? fuse<false, true>(t, flushed) : saturated ? fuse<true, false>(t, flushed) : fuse<false, false>(t, flushed);
    b.emit(rounded(b, h, mode));
}

void decode_mad(Builder& b) {
    if (b.has("cc")) return decode_carry(b);
    if (b.take("wide")) return decode_wide(b, true);
    if (!b.has("lo") && !b.has("hi")) return decode_fma(b);
    bool high = b.choose({"lo", "hi"}) == 1;
    Type t = b.type();
    operands(b, t, 3);
    b.emit(high ? integer_form<MultiplyHighAdd, 3>(t) : integer_form<MultiplyAdd, 3>(t));
}

void decode_div(Builder& b) {
    b.choose({"approx", "full"});
    int mode = take_rounding(b);
    bool flushed = b.take("ftz");
    Type t = b.type();
    operands(b, t, 2);
    b.emit(is_float(t) ? rounded(b, wide_float_form<Divide, 2>(t, flushed), mode) : integer_form<Divide, 2>(t));
}

void decode_rem(Builder& b) {
    Type t = b.type();
    operands(b, t, 2);
    b.emit(integer_form<Remainder, 2>(t));
}

template <class Op> void decode_extreme(Builder& b) {
    bool flushed = b.take("ftz"), nan = b.take("NaN");
    Type t = b.type();
    operands(b, t, 2);
    b.emit(!is_float(t) ? integer_form<Op, 2>(t) : nan ? float_form<OrNan<Op>, 2>(t, flushed) : float_form<Op, 2>(t, flushed));
}

template <class T, T Bit, bool Flip> void sign_bits(Warp& w, const Instruction& i) {
    const T* a = w.in<T>(i.a);
    assign(w.active, w.out<T>(i.d), [=](int l) { return static_cast<T>(Flip ? a[l] ^ Bit : a[l] & ~Bit); });
}

// Sign operations keep NaN payloads: they only touch the sign bit.
template <class Op, bool Flip> void decode_sign(Builder& b) {
    bool flushed = b.take("ftz");
    Type t = b.type();
    operands(b, t, 1);
    if (flushed && t == Type::F32) return b.emit(unary<SingleFlushed, false, Op>);
    switch (t) {
        case Type::F32: return b.emit(sign_bits<uint32_t, 0x80000000u, Flip>);
        case Type::F64: return b.emit(sign_bits<uint64_t, 1ull << 63, Flip>);
        case Type::F16: case Type::BF16: return b.emit(sign_bits<uint16_t, 0x8000, Flip>);
        case Type::F16x2: case Type::BF16x2: return b.emit(sign_bits<uint32_t, 0x80008000u, Flip>);
        default: return b.emit(integer_form<Op, 1>(t));
    }
}

template <class Op> void decode_approximation(Builder& b) {
    b.take("approx");
    int mode = take_rounding(b);
    bool flushed = b.take("ftz");
    Type t = b.type();
    operands(b, t, 1);
    Handler h = nullptr;
    if constexpr (requires { Op::apply(1.0); }) h = float_form<Op, 1>(t, flushed);
    else h = t == Type::F32 ? (flushed ? unary<SingleFlushed, false, Op> : unary<Single, false, Op>) : narrow_float_form<Op, 1>(t);
    b.emit(rounded(b, h, mode));
}

void decode_sad(Builder& b) {
    Type t = b.type();
    operands(b, t, 3);
    b.emit(integer_form<AbsoluteDifference, 3>(t));
}

void decode_copysign(Builder& b) {
    Type t = b.type();
    operands(b, t, 2);
    b.emit(wide_float_form<CopySign, 2>(t, false));
}

// ---- carry chains: the condition code is a predicate register of the kernel, made on first use. A difference is x + ~y + 1, so that its carry
// says that nothing was borrowed; nvcc's 128-bit division reads it with addc.

template <class T, bool Subtracts, bool In, bool Out> void carry(Warp& w, const Instruction& i) {
    const T *x = w.in<T>(i.a), *y = w.in<T>(i.b);
    Mask incoming = In ? w.predicate(i.c) : Subtracts ? all_lanes : 0, outgoing = 0;
    T value[32];
    for (int l = 0; l < 32; ++l) {
        T added = Subtracts ? static_cast<T>(~y[l]) : y[l];
        unsigned __int128 r = static_cast<unsigned __int128>(x[l]) + added + (incoming >> l & 1);
        value[l] = static_cast<T>(r);
        outgoing |= static_cast<Mask>(r >> (8 * sizeof(T)) & 1) << l;
    }
    assign(w.active, w.out<T>(i.d), [&](int l) { return value[l]; });
    if (Out) w.set_predicate(i.more[0], outgoing);
}

template <class T, bool High, bool In, bool Out> void carry_multiply_add(Warp& w, const Instruction& i) {
    const T *x = w.in<T>(i.a), *y = w.in<T>(i.b), *z = w.in<T>(i.more[1]);
    Mask incoming = In ? w.predicate(i.c) : 0, outgoing = 0;
    T value[32];
    for (int l = 0; l < 32; ++l) {
        unsigned __int128 product = static_cast<unsigned __int128>(x[l]) * y[l];
        unsigned __int128 r = static_cast<unsigned __int128>(static_cast<T>(High ? product >> (8 * sizeof(T)) : product)) + z[l] + (incoming >> l & 1);
        value[l] = static_cast<T>(r);
        outgoing |= static_cast<Mask>(r >> (8 * sizeof(T)) & 1) << l;
    }
    assign(w.active, w.out<T>(i.d), [&](int l) { return value[l]; });
    if (Out) w.set_predicate(i.more[0], outgoing);
}

template <class T> Handler carry_handler(bool subtracts, bool in, bool out) {
    if (subtracts) return in ? (out ? carry<T, true, true, true> : carry<T, true, true, false>) : carry<T, true, false, true>;
    return in ? (out ? carry<T, false, true, true> : carry<T, false, true, false>) : carry<T, false, false, true>;
}

template <class T> Handler carry_mad_handler(bool high, bool in, bool out) {
    if (high) return in ? (out ? carry_multiply_add<T, true, true, true> : carry_multiply_add<T, true, true, false>) : carry_multiply_add<T, true, false, true>;
    return in ? (out ? carry_multiply_add<T, false, true, true> : carry_multiply_add<T, false, true, false>) : carry_multiply_add<T, false, false, true>;
}

void decode_carry(Builder& b) {
    bool in = b.name() == "addc" || b.name() == "subc" || b.name() == "madc";
    bool subtracts = b.name() == "sub" || b.name() == "subc", multiplies = b.name().starts_with("mad");
    bool out = b.take("cc"), high = b.choose({"lo", "hi"}) == 1;
    Type t = b.type();
    if (b.unit().condition_code < 0) b.unit().condition_code = b.temporary(1);
    b.i.d = b.def(0, t);
    b.i.a = b.use(1, t);
    b.i.b = b.use(2, t);
    if (in) b.i.c = b.use_register(b.unit().condition_code);
    b.more(out ? b.def_register(b.unit().condition_code) : none);
    if (out) b.use_register(b.unit().condition_code);
    if (multiplies) b.more(b.use(3, t));
    bool wide = bits_of(t) == 64;
    b.emit(multiplies ? (wide ? carry_mad_handler<uint64_t>(high, in, out) : carry_mad_handler<uint32_t>(high, in, out))
                      : (wide ? carry_handler<uint64_t>(subtracts, in, out) : carry_handler<uint32_t>(subtracts, in, out)));
}

}  // namespace

const DecoderTable& arithmetic_decoders() {
    static const DecoderTable table{
        {"add", decode_add<Add>}, {"sub", decode_add<Subtract>}, {"mul", decode_mul}, {"mad", decode_mad}, {"fma", decode_fma}, {"div", decode_div},
        {"rem", decode_rem}, {"min", decode_extreme<Smaller>}, {"max", decode_extreme<Larger>}, {"abs", decode_sign<Absolute, false>},
        {"neg", decode_sign<Negative, true>}, {"sad", decode_sad}, {"copysign", decode_copysign}, {"addc", decode_carry}, {"subc", decode_carry},
        {"madc", decode_carry}, {"ex2", decode_approximation<PowerOfTwo>}, {"lg2", decode_approximation<Approximate<logarithm>>},
        {"rcp", decode_approximation<Reciprocal>}, {"rsqrt", decode_approximation<ReciprocalRoot>}, {"sqrt", decode_approximation<Root>},
        {"sin", decode_approximation<Approximate<sine>>}, {"cos", decode_approximation<Approximate<cosine>>},
        {"tanh", decode_approximation<Approximate<hyperbolic_tangent>>}};
    return table;
}

}  // namespace kf
