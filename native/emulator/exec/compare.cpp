// compare.cpp - setp, set, selp, slct, testp.
#include <bit>

#include "builder.h"
#include "numbers.h"

namespace kf {
namespace {

enum Comparison { Equal, NotEqual, Less, LessEqual, Greater, GreaterEqual, EqualU, NotEqualU, LessU, LessEqualU, GreaterU, GreaterEqualU, BothNumbers, AnyNan, Comparisons };

// ..U: true when one is NaN.
template <int C, class T> bool compare(T a, T b) {
    if constexpr (C == Equal) return a == b;
    else if constexpr (C == NotEqual) return std::is_integral_v<T> ? a != b : a < b || a > b;
    else if constexpr (C == Less) return a < b;
    else if constexpr (C == LessEqual) return a <= b;
    else if constexpr (C == Greater) return a > b;
    else if constexpr (C == GreaterEqual) return a >= b;
    else if constexpr (C == EqualU) return !(a < b || a > b);
    else if constexpr (C == NotEqualU) return a != b;
    else if constexpr (C == LessU) return !(a >= b);
    else if constexpr (C == LessEqualU) return !(a > b);
    else if constexpr (C == GreaterU) return !(a <= b);
    else if constexpr (C == GreaterEqualU) return !(a < b);
    else if constexpr (C == BothNumbers) return a == a && b == b;
    else return a != a || b != b;
}

enum Combination : uint32_t { NoCombination, CombineAnd, CombineOr, CombineXor };

Mask combine(const Warp& w, const Instruction& i, Mask r) {
    Mask c = (i.flags & 3) ? w.predicate(i.c) ^ (i.flags & 4 ? ~0u : 0) : 0;
    switch (i.flags & 3) {
        case CombineAnd: return r & c;
        case CombineOr: return r | c;
        case CombineXor: return r ^ c;
        default: return r;
    }
}

// more[0]: the second destination, or none.
template <class N, int C> void set_predicates(Warp& w, const Instruction& i) {
    const auto *a = w.in<typename N::Storage>(i.a), *b = w.in<typename N::Storage>(i.b);
    Mask r = collect([=](int l) { return compare<C>(N::load(a[l]), N::load(b[l])); });
    if (i.more) w.set_predicate(i.more[0], combine(w, i, ~r));
    w.set_predicate(i.d, combine(w, i, r));
}

// Two halves per lane, one predicate for each.
template <class N, int C> void set_predicate_pair(Warp& w, const Instruction& i) {
    const auto *a = w.in<uint16_t>(i.a), *b = w.in<uint16_t>(i.b);
    Mask low = collect([=](int l) { return compare<C>(N::load(a[2 * l]), N::load(b[2 * l])); });
    Mask high = collect([=](int l) { return compare<C>(N::load(a[2 * l + 1]), N::load(b[2 * l + 1])); });
    w.set_predicate(i.d, combine(w, i, low));
    if (i.more) w.set_predicate(i.more[0], combine(w, i, high));
}

// flags bit 3: true is 1.0 instead of all ones.
template <class N, int C> void set_number(Warp& w, const Instruction& i) {
    const auto *a = w.in<typename N::Storage>(i.a), *b = w.in<typename N::Storage>(i.b);
    Mask r = combine(w, i, collect([=](int l) { return compare<C>(N::load(a[l]), N::load(b[l])); }));
    uint32_t yes = static_cast<uint32_t>(i.immediate);
    if (i.flags & 8) assign(w.active, w.out<uint16_t>(i.d), [=](int l) { return static_cast<uint16_t>(r >> l & 1 ? yes : 0); });
    else assign(w.active, w.out<uint32_t>(i.d), [=](int l) { return r >> l & 1 ? yes : 0; });
}

template <class N, int C> void set_number_pair(Warp& w, const Instruction& i) {
    const auto *a = w.in<uint16_t>(i.a), *b = w.in<uint16_t>(i.b);
    uint16_t yes = static_cast<uint16_t>(i.immediate);
    assign_pairs(w.active, w.out<uint16_t>(i.d), [=](int e) { return compare<C>(N::load(a[e]), N::load(b[e])) ? yes : uint16_t(0); });
}

enum class Form { Predicates, Pair, Number, NumberPair };

template <Form F, class N, int C> constexpr Handler form() {
    if constexpr (F == Form::Predicates) return set_predicates<N, C>;
    else if constexpr (F == Form::Pair) return set_predicate_pair<N, C>;
    else if constexpr (F == Form::Number) return set_number<N, C>;
    else return set_number_pair<N, C>;
}

template <Form F, class N, int... C> Handler pick(int comparison, std::integer_sequence<int, C...>) {
    static constexpr Handler table[] = {form<F, N, C>()...};
    return table[comparison];
}

template <Form F, class N> Handler pick(int comparison) {
    constexpr int known = std::is_integral_v<typename N::Math> ? static_cast<int>(EqualU) : static_cast<int>(Comparisons);
    return comparison < known ? pick<F, N>(comparison, std::make_integer_sequence<int, known>()) : nullptr;
}

template <Form F> Handler by_type(Type t, int comparison, bool flushed) {
    switch (t) {
        case Type::U16: case Type::B16: return pick<F, Plain<uint16_t>>(comparison);
        case Type::S16: return pick<F, Plain<int16_t>>(comparison);
        case Type::U32: case Type::B32: return pick<F, Plain<uint32_t>>(comparison);
        case Type::S32: return pick<F, Plain<int32_t>>(comparison);
        case Type::U64: case Type::B64: return pick<F, Plain<uint64_t>>(comparison);
        case Type::S64: return pick<F, Plain<int64_t>>(comparison);
        case Type::F32: return flushed ? pick<F, SingleFlushed>(comparison) : pick<F, Single>(comparison);
        case Type::F64: return pick<F, Plain<double>>(comparison);
        case Type::F16: return pick<F, Half>(comparison);
        case Type::BF16: return pick<F, Bfloat>(comparison);
        default: return nullptr;
    }
}

int take_comparison(Builder& b) {
    int c = b.choose({"eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"});
    if (c < 0) {
        constexpr int unsigned_names[] = {Less, LessEqual, Greater, GreaterEqual};
        int u = b.choose({"lo", "ls", "hi", "hs"});
        if (u < 0) b.unknown();
        c = unsigned_names[u];
    }
    return c;
}

void take_combination(Builder& b) {
    int combination = b.choose({"and", "or", "xor"});
    if (combination < 0) return;
    const ptx::Operand& c = b.operand(3);
    b.i.flags = static_cast<uint32_t>(combination + 1) | (c.negated ? 4 : 0);
    b.i.c = b.use_predicate(c);
}

void decode_setp(Builder& b) {
    int comparison = take_comparison(b);
    take_combination(b);
    bool flushed = b.take("ftz");
    Type t = b.type();
    b.i.d = b.def(0, Type::Pred);
    if (b.operand(0).second >= 0) b.more(b.def_register(b.operand(0).second));
    b.i.a = b.use(1, t);
    b.i.b = b.use(2, t);
    if (t == Type::F16x2) b.emit(pick<Form::Pair, Half>(comparison));
    else if (t == Type::BF16x2) b.emit(pick<Form::Pair, Bfloat>(comparison));
    else b.emit(by_type<Form::Predicates>(t, comparison, flushed));
}

void decode_set(Builder& b) {
    int comparison = take_comparison(b);
    take_combination(b);
    bool flushed = b.take("ftz");
    Type result = b.type(), t = b.type();
    b.i.d = b.def(0, result);
    b.i.a = b.use(1, t);
    b.i.b = b.use(2, t);
    if (bits_of(result) == 16) b.i.flags |= 8;
    switch (result) {
        case Type::F32: b.i.immediate = 0x3f800000; break;
        case Type::F16: case Type::F16x2: b.i.immediate = 0x3c00; break;
        case Type::BF16: case Type::BF16x2: b.i.immediate = 0x3f80; break;
        default: b.i.immediate = -1;
    }
    if (t == Type::F16x2) b.emit(pick<Form::NumberPair, Half>(comparison));
    else if (t == Type::BF16x2) b.emit(pick<Form::NumberPair, Bfloat>(comparison));
    else b.emit(by_type<Form::Number>(t, comparison, flushed));
}

template <class T> void select(Warp& w, const Instruction& i) {
    const T *a = w.in<T>(i.a), *b = w.in<T>(i.b);
    Mask c = w.predicate(i.c) ^ i.flags;
    assign(w.active, w.out<T>(i.d), [=](int l) { return c >> l & 1 ? a[l] : b[l]; });
}

void decode_selp(Builder& b) {
    Type t = b.type();
    b.i.d = b.def(0, t);
    b.i.a = b.use(1, t);
    b.i.b = b.use(2, t);
    b.i.c = b.use_predicate(b.operand(3));
    b.i.flags = b.operand(3).negated ? ~0u : 0;
    b.emit(bits_of(t) == 16 ? select<uint16_t> : bits_of(t) == 32 ? select<uint32_t> : select<uint64_t>);
}

template <class T, class C> void select_by_sign(Warp& w, const Instruction& i) {
    const T *a = w.in<T>(i.a), *b = w.in<T>(i.b);
    const C* c = w.in<C>(i.c);
    assign(w.active, w.out<T>(i.d), [=](int l) { return c[l] >= 0 ? a[l] : b[l]; });
}

void decode_slct(Builder& b) {
    b.take("ftz");
    Type t = b.type(), c = b.type();
    b.i.d = b.def(0, t);
    b.i.a = b.use(1, t);
    b.i.b = b.use(2, t);
    b.i.c = b.use(3, c);
    bool is_float = c == Type::F32;
    switch (bits_of(t)) {
        case 16: return b.emit(is_float ? select_by_sign<uint16_t, float> : select_by_sign<uint16_t, int32_t>);
        case 32: return b.emit(is_float ? select_by_sign<uint32_t, float> : select_by_sign<uint32_t, int32_t>);
        default: return b.emit(is_float ? select_by_sign<uint64_t, float> : select_by_sign<uint64_t, int32_t>);
    }
}

template <class T, int Test> void test_number(Warp& w, const Instruction& i) {
    const T* a = w.in<T>(i.a);
    w.set_predicate(i.d, collect([=](int l) {
        switch (Test) {
            case 0: return static_cast<bool>(std::isfinite(a[l]));
            case 1: return static_cast<bool>(std::isinf(a[l]));
            case 2: return !std::isnan(a[l]);
            case 3: return static_cast<bool>(std::isnan(a[l]));
            case 4: return static_cast<bool>(std::isnormal(a[l]));
            default: return std::fpclassify(a[l]) == FP_SUBNORMAL;
        }
    }));
}

void decode_testp(Builder& b) {
    int test = b.choose({"finite", "infinite", "number", "notanumber", "normal", "subnormal"});
    if (test < 0) b.unknown();
    Type t = b.type();
    b.i.d = b.def(0, Type::Pred);
    b.i.a = b.use(1, t);
    constexpr Handler single[] = {test_number<float, 0>, test_number<float, 1>, test_number<float, 2>, test_number<float, 3>, test_number<float, 4>, test_number<float, 5>};
    constexpr Handler twice[] = {test_number<double, 0>, test_number<double, 1>, test_number<double, 2>, test_number<double, 3>, test_number<double, 4>, test_number<double, 5>};
    b.emit(t == Type::F64 ? twice[test] : single[test]);
}

}  // namespace

const DecoderTable& compare_decoders() {
    static const DecoderTable table{{"setp", decode_setp}, {"set", decode_set}, {"selp", decode_selp}, {"slct", decode_slct}, {"testp", decode_testp}};
    return table;
}

}  // namespace kf
