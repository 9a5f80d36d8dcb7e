// convert.cpp - cvt between all number types.
#include <bit>
#include <limits>
#include <utility>

#include "builder.h"
#include "numbers.h"

namespace kf {
namespace {

enum Rounding { Nearest, Zero, Down, Up };
enum Flags : uint32_t { Saturate = 4, Flush = 8, Rectify = 16, ToIntegral = 32 };  // beside the rounding in the two lowest bits

template <class F> F round_to_integral(F x, uint32_t mode) {
    switch (mode & 3) {
        case Nearest: return std::nearbyint(x);
        case Zero: return std::trunc(x);
        case Down: return std::floor(x);
        default: return std::ceil(x);
    }
}

// 8-bit values live in 16-bit registers.
template <class T> struct Narrow {
    using Storage = std::conditional_t<std::is_signed_v<T>, int16_t, uint16_t>;
    using Math = T;
    static T load(Storage s) { return static_cast<T>(s); }
    static Storage store(T m) { return m; }
};

template <class D, class S> D integer_to_integer(S x, uint32_t flags) {
    if (flags & Saturate) {
        using Limits = std::numeric_limits<D>;
        if (std::cmp_less(x, Limits::min())) return Limits::min();
        if (std::cmp_greater(x, Limits::max())) return Limits::max();
    }
    return static_cast<D>(x);
}

// Out of range goes to the nearest end, NaN to zero.
template <class D, class F> D float_to_integer(F x, uint32_t flags) {
    F r = round_to_integral(x, flags);
    if (r != r) return sizeof(D) == 8 && sizeof(F) == 8 ? static_cast<D>(1ull << 63) : D(0);
    constexpr F low = static_cast<F>(std::numeric_limits<D>::min());
    const F high = std::ldexp(F(1), std::numeric_limits<D>::digits);
    return r < low ? std::numeric_limits<D>::min() : r >= high ? std::numeric_limits<D>::max() : static_cast<D>(r);
}

// The float nearest to x that is not above, not below or not farther from zero.
template <class S> float directed_to_float(S x, uint32_t mode) {
    float f = static_cast<float>(x);
    bool above, below;
    if constexpr (std::is_integral_v<S>) {
        long double exact = static_cast<long double>(x);
        above = f > exact, below = f < exact;
    } else {
        above = static_cast<double>(f) > x, below = static_cast<double>(f) < x;
    }
    bool negative = x < 0;
    if (above && (mode == Down || (mode == Zero && !negative))) return std::nextafter(f, -INFINITY);
    if (below && (mode == Up || (mode == Zero && negative))) return std::nextafter(f, INFINITY);
    return f;
}

// To a 16-bit type in a directed mode: round to nearest, then step back when that went the wrong way.
template <class N> uint16_t directed_to_narrow(float x, uint32_t mode) {
    uint16_t r = N::store(x);
    float f = N::load(r);
    if (x != x || f == x) return r;
    bool away = mode == Zero ? std::fabs(f) > std::fabs(x) : mode == Down ? f > x : f < x;
    if (!away) return r;
    bool toward_zero = mode == Zero || (f > 0) == (mode == Down);
    return static_cast<uint16_t>(toward_zero ? r - 1 : r + 1);
}

template <class D, class S> typename D::Storage convert(typename S::Storage stored, uint32_t flags) {
    using To = typename D::Math;
    using From = typename S::Math;
    From x = S::load(stored);
    if constexpr (std::is_integral_v<To> && std::is_integral_v<From>) return D::store(integer_to_integer<To>(x, flags));
    else if constexpr (std::is_integral_v<To>) {
        if constexpr (std::is_same_v<From, float>) if (flags & Flush) x = flush(x);
        return D::store(float_to_integer<To>(x, flags));
    } else {
        if constexpr (std::is_same_v<From, float>) if (flags & Flush) x = flush(x);
        uint32_t mode = flags & 3;
        if constexpr (!std::is_integral_v<From>) {
            if (flags & ToIntegral) x = round_to_integral(x, flags), mode = Nearest;
            if (flags & Saturate) x = x > 0 ? (x < 1 ? x : From(1)) : From(0);
            if (flags & Rectify) x = x > 0 || x != x ? x : From(0);
        }
        if constexpr (sizeof(typename D::Storage) == 2) {
            if (mode != Nearest) return directed_to_narrow<D>(static_cast<float>(x), mode);
            if constexpr (std::is_same_v<From, double> || sizeof(From) == 8) {  // one rounding only: to odd in between
                float f = static_cast<float>(x);
                uint32_t bits = as_bits(f);
                double exact = static_cast<double>(x);
                if (std::isfinite(f) && f != 0 && static_cast<double>(f) != exact && !(bits & 1)) f = as_float((exact > f) == (f > 0) ? bits + 1 : bits - 1);
                return D::store(f);
            } else return D::store(static_cast<float>(x));
        } else if constexpr (std::is_same_v<To, float>) {
            float f = mode == Nearest ? static_cast<float>(x) : directed_to_float(x, mode);
            return canonical(flags & Flush ? flush(f) : f);
        } else return static_cast<To>(x);
    }
}

template <class D, class S> void convert_lanes(Warp& w, const Instruction& i) {
    const auto* a = w.in<typename S::Storage>(i.a);
    uint32_t flags = i.flags;
    if (flags == 0) assign(w.active, w.out<typename D::Storage>(i.d), [=](int l) { return convert<D, S>(a[l], 0); });
    else assign(w.active, w.out<typename D::Storage>(i.d), [=](int l) { return convert<D, S>(a[l], flags); });
}

template <class S> Handler to_type(Type t) {
    switch (t) {
        case Type::U8: return convert_lanes<Narrow<uint8_t>, S>;
        case Type::S8: return convert_lanes<Narrow<int8_t>, S>;
        case Type::U16: return convert_lanes<Plain<uint16_t>, S>;
        case Type::S16: return convert_lanes<Plain<int16_t>, S>;
        case Type::U32: return convert_lanes<Plain<uint32_t>, S>;
        case Type::S32: return convert_lanes<Plain<int32_t>, S>;
        case Type::U64: return convert_lanes<Plain<uint64_t>, S>;
        case Type::S64: return convert_lanes<Plain<int64_t>, S>;
        case Type::F16: return convert_lanes<Half, S>;
        case Type::BF16: return convert_lanes<Bfloat, S>;
        case Type::F32: return convert_lanes<Plain<float>, S>;
        case Type::F64: return convert_lanes<Plain<double>, S>;
        default: return nullptr;
    }
}

Handler conversion(Type to, Type from) {
    switch (from) {
        case Type::U8: return to_type<Narrow<uint8_t>>(to);
        case Type::S8: return to_type<Narrow<int8_t>>(to);
        case Type::U16: return to_type<Plain<uint16_t>>(to);
        case Type::S16: return to_type<Plain<int16_t>>(to);
        case Type::U32: return to_type<Plain<uint32_t>>(to);
        case Type::S32: return to_type<Plain<int32_t>>(to);
        case Type::U64: return to_type<Plain<uint64_t>>(to);
        case Type::S64: return to_type<Plain<int64_t>>(to);
        case Type::F16: return to_type<Half>(to);
        case Type::BF16: return to_type<Bfloat>(to);
        case Type::F32: return to_type<Plain<float>>(to);
        case Type::F64: return to_type<Plain<double>>(to);
        default: return nullptr;
    }
}

// Two floats into one register; the first source is the upper half.
template <class N> void convert_pair(Warp& w, const Instruction& i) {
    const float *high = w.in<float>(i.a), *low = w.in<float>(i.b);
    uint32_t flags = i.flags;
    assign(w.active, w.out<uint32_t>(i.d), [=](int l) {
        return static_cast<uint32_t>(convert<N, Plain<float>>(high[l], flags)) << 16 | convert<N, Plain<float>>(low[l], flags);
    });
}

void decode_cvt(Builder& b) {
    int rounding = b.choose({"rn", "rz", "rm", "rp"}), integral = b.choose({"rni", "rzi", "rmi", "rpi"});
    uint32_t flags = static_cast<uint32_t>(integral >= 0 ? integral : rounding >= 0 ? rounding : 0) | (integral >= 0 ? ToIntegral : 0u);
    if (b.take("ftz")) flags |= Flush;
    if (b.take("sat")) flags |= Saturate;
    if (b.take("relu")) flags |= Rectify;
    Type to = b.type(), from = b.type();
    b.i.flags = flags;
    if (to == Type::F16x2 || to == Type::BF16x2) {
        if (from != Type::F32 || b.count() != 3) b.unknown();
        b.i.d = b.def(0, to);
        b.i.a = b.use(1, from);
        b.i.b = b.use(2, from);
        return b.emit(to == Type::F16x2 ? convert_pair<Half> : convert_pair<Bfloat>);
    }
    if (to == Type::B16 || from == Type::B16) b.unknown();
    b.i.d = b.def(0, to);
    b.i.a = b.use(1, from);
    b.emit(conversion(to, from));
}

}  // namespace

const DecoderTable& convert_decoders() {
    static const DecoderTable table{{"cvt", decode_cvt}};
    return table;
}

}  // namespace kf
