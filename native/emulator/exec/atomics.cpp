// atomics.cpp - atom and red. Truly atomic, for blocks run on several threads.
#include <algorithm>
#include <atomic>

#include "builder.h"
#include "memory.h"
#include "numbers.h"

namespace kf {
namespace {

template <class T, class F> T modify(char* at, F&& next) {
    std::atomic_ref<T> cell(*reinterpret_cast<T*>(at));
    T old = cell.load();
    while (!cell.compare_exchange_weak(old, next(old))) {}
    return old;
}

struct Sum { template <class T> static T apply(T old, T x) { return static_cast<T>(old + x); } };
struct Least { template <class T> static T apply(T old, T x) { return std::min(old, x); } };
struct Most { template <class T> static T apply(T old, T x) { return std::max(old, x); } };
struct Increment { template <class T> static T apply(T old, T x) { return old >= x ? T(0) : static_cast<T>(old + 1); } };
struct Decrement { template <class T> static T apply(T old, T x) { return old == 0 || old > x ? x : static_cast<T>(old - 1); } };
struct Both { template <class T> static T apply(T old, T x) { return old & x; } };
struct Either { template <class T> static T apply(T old, T x) { return old | x; } };
struct OneOf { template <class T> static T apply(T old, T x) { return old ^ x; } };
struct Replace { template <class T> static T apply(T, T x) { return x; } };

constexpr uint32_t window_mask = 3;

template <class T> Access atomic_access() { return {.bytes = sizeof(T), .reads = true, .writes = true, .strong = true, .acquires = true}; }

// N gives the arithmetic of the cell; pairs of 16-bit numbers are added half by half.
template <class N, class Op> void atomic(Warp& w, const Instruction& i) {
    using T = typename N::Storage;
    Pointers p;
    locate(w, i, static_cast<Window>(i.flags & window_mask), atomic_access<T>(), p);
    const T* x = w.in<T>(i.b);
    T old[32];
    each(w.active, [&](int l) { old[l] = modify<T>(p.at[l], [&](T o) { return N::store(Op::apply(N::load(o), N::load(x[l]))); }); });
    if (i.d != none) each(w.active, [&](int l) { w.out<T>(i.d)[l] = old[l]; });
}

template <class T> void atomic_exchange_if(Warp& w, const Instruction& i) {
    Pointers p;
    locate(w, i, static_cast<Window>(i.flags & window_mask), atomic_access<T>(), p);
    const T *expected = w.in<T>(i.b), *next = w.in<T>(i.c);
    T old[32];
    each(w.active, [&](int l) { old[l] = modify<T>(p.at[l], [&](T o) { return o == expected[l] ? next[l] : o; }); });
    if (i.d != none) each(w.active, [&](int l) { w.out<T>(i.d)[l] = old[l]; });
}

template <class N> void atomic_add_pair(Warp& w, const Instruction& i) {
    Pointers p;
    locate(w, i, static_cast<Window>(i.flags & window_mask), atomic_access<uint32_t>(), p);
    const uint32_t* x = w.in<uint32_t>(i.b);
    auto half = [](uint32_t a, uint32_t b) { return N::store(N::load(static_cast<uint16_t>(a)) + N::load(static_cast<uint16_t>(b))); };
    uint32_t old[32];
    each(w.active, [&](int l) {
        old[l] = modify<uint32_t>(p.at[l], [&](uint32_t o) { return static_cast<uint32_t>(half(o >> 16, x[l] >> 16)) << 16 | half(o, x[l]); });
    });
    if (i.d != none) each(w.active, [&](int l) { w.out<uint32_t>(i.d)[l] = old[l]; });
}

template <class Op> Handler integer(Type t) {
    switch (t) {
        case Type::U32: case Type::B32: return atomic<Plain<uint32_t>, Op>;
        case Type::S32: return atomic<Plain<int32_t>, Op>;
        case Type::U64: case Type::B64: return atomic<Plain<uint64_t>, Op>;
        case Type::S64: return atomic<Plain<int64_t>, Op>;
        default: return nullptr;
    }
}

Handler addition(Type t) {
    switch (t) {
        case Type::F32: return atomic<Single, Sum>;
        case Type::F64: return atomic<Plain<double>, Sum>;
        case Type::F16: return atomic<Half, Sum>;
        case Type::BF16: return atomic<Bfloat, Sum>;
        case Type::F16x2: return atomic_add_pair<Half>;
        case Type::BF16x2: return atomic_add_pair<Bfloat>;
        default: return integer<Sum>(t);
    }
}

Handler exchange_if(Type t) { return bits_of(t) == 16 ? atomic_exchange_if<uint16_t> : bits_of(t) == 32 ? atomic_exchange_if<uint32_t> : atomic_exchange_if<uint64_t>; }

void decode_atomic(Builder& b) {
    bool reduces = b.name() == "red";
    b.choose({"relaxed", "acquire", "release", "acq_rel"});
    b.choose({"cta", "gpu", "sys", "cluster"});
    int space = b.choose({"global", "shared", "shared::cta"});
    Window window = space < 0 ? Window::Generic : space == 0 ? Window::Global : Window::Shared;
    int operation = b.choose({"add", "min", "max", "inc", "dec", "and", "or", "xor", "exch", "cas"});
    b.take("noftz");
    b.drop_hints();
    Type t = b.type();
    size_t address = reduces ? 0 : 1;
    if (!reduces) b.i.d = b.def(0, t);
    b.address(address, window == Window::Shared);
    b.i.b = b.use(address + 1, t);
    if (operation == 9) b.i.c = b.use(address + 2, t);
    b.i.flags = static_cast<uint32_t>(window);
    b.kind(AtomicClass);
    switch (operation) {
        case 0: return b.emit(addition(t));
        case 1: return b.emit(integer<Least>(t));
        case 2: return b.emit(integer<Most>(t));
        case 3: return b.emit(integer<Increment>(t));
        case 4: return b.emit(integer<Decrement>(t));
        case 5: return b.emit(integer<Both>(t));
        case 6: return b.emit(integer<Either>(t));
        case 7: return b.emit(integer<OneOf>(t));
        case 8: return b.emit(integer<Replace>(t));
        case 9: return b.emit(exchange_if(t));
        default: b.unknown();
    }
}

}  // namespace

const DecoderTable& atomic_decoders() {
    static const DecoderTable table{{"atom", decode_atomic}, {"red", decode_atomic}};
    return table;
}

}  // namespace kf
