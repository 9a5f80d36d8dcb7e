// collectives.cpp - what the lanes of a warp do together: shuffles, votes, matches, reductions.
#include <algorithm>

#include "builder.h"
#include "memory.h"

namespace kf {

namespace {

// Meets the lanes that a member mask names; lanes of one group that name different masks meet apart.
bool meet_members(Warp& w, uint32_t operand) {
    const uint32_t* members = w.in<uint32_t>(operand);
    uint32_t first = members[__builtin_ctz(w.active)];
    Mask same = w.active & collect([=](int l) { return members[l] == first; });
    if (same != w.active) {
        w.ready.push_back({w.active & ~same, w.pc - 1, w.spins, Group::State::Ready, 0, 0});
        w.mask &= ~(w.active & ~same);
        w.active = same;
        w.reschedule();
    }
    return w.meet(first);
}

enum class Shuffle { Up, Down, Butterfly, Index };

// d, a: value; b: lane or distance; c: bounds; more: members, then the predicate or none.
template <Shuffle S> void shuffle(Warp& w, const Instruction& i) {
    if (!meet_members(w, i.more[0])) return;
    const auto *value = w.in<uint32_t>(i.a), *by = w.in<uint32_t>(i.b), *bounds = w.in<uint32_t>(i.c);
    uint32_t result[32];
    Mask inside = 0, stale = 0;
    each(w.active, [&](int lane) {
        int clamp = static_cast<int>(bounds[lane] & 31), segment = static_cast<int>(bounds[lane] >> 8 & 31), n = static_cast<int>(by[lane] & 31);
        int most = (lane & segment) | (clamp & ~segment), least = lane & segment, from = lane;
        bool in = false;
        if constexpr (S == Shuffle::Up) from = lane - n, in = from >= most;
        if constexpr (S == Shuffle::Down) from = lane + n, in = from <= most;
        if constexpr (S == Shuffle::Butterfly) from = lane ^ n, in = from <= most;
        if constexpr (S == Shuffle::Index) from = least | (n & ~segment), in = from <= most;
        if (!in) from = lane;
        if (!(w.active >> from & 1)) stale |= 1u << lane;
        result[lane] = value[from];
        inside |= in ? 1u << lane : 0;
    });
    if (stale && w.block->launch.settings.checks) w.block->fail(w, __builtin_ctz(stale), 719, "the shuffle reads a lane that takes no part in it");
    each(w.active, [&](int lane) { w.out<uint32_t>(i.d)[lane] = result[lane]; });
    if (i.more[1] != none) w.set_predicate(i.more[1], inside);
}

void decode_shfl(Builder& b) {
    if (!b.take("sync")) b.unknown();
    int mode = b.choose({"up", "down", "bfly", "idx"});
    if (mode < 0) b.unknown();
    b.type();
    b.i.d = b.def(0, Type::B32);
    b.i.a = b.use(1, Type::B32);
    b.i.b = b.use(2, Type::U32);
    b.i.c = b.use(3, Type::U32);
    b.more(b.use(4, Type::U32));
    b.more(b.operand(0).second >= 0 ? b.def_register(b.operand(0).second) : none);
    constexpr Handler modes[] = {shuffle<Shuffle::Up>, shuffle<Shuffle::Down>, shuffle<Shuffle::Butterfly>, shuffle<Shuffle::Index>};
    b.emit(modes[mode]);
}

enum class Question { All, Any, Uniform, Ballot };

// a: predicate, flags flips it; more: members.
template <Question Q> void vote(Warp& w, const Instruction& i) {
    if (!meet_members(w, i.more[0])) return;
    Mask yes = w.active & (w.predicate(i.a) ^ i.flags);
    if constexpr (Q == Question::Ballot) assign(w.active, w.out<uint32_t>(i.d), [=](int) { return yes; });
    else {
        bool answer = Q == Question::All ? yes == w.active : Q == Question::Any ? yes != 0 : yes == 0 || yes == w.active;
        w.set_predicate(i.d, answer ? all_lanes : 0);
    }
}

void decode_vote(Builder& b) {
    if (!b.take("sync")) b.unknown();
    int question = b.choose({"all", "any", "uni", "ballot"});
    if (question < 0) b.unknown();
    Type t = b.type();
    b.i.d = b.def(0, t);
    const ptx::Operand& p = b.operand(1);
    b.i.flags = p.negated ? ~0u : 0;
    if (p.kind == ptx::Operand::Kind::Immediate) b.i.a = b.unit().constant(32, p.bits ? ~0ull : 0);
    else b.i.a = b.use_predicate(p);
    b.more(b.use(2, Type::U32));
    constexpr Handler questions[] = {vote<Question::All>, vote<Question::Any>, vote<Question::Uniform>, vote<Question::Ballot>};
    b.emit(questions[question]);
}

template <class T, bool All> void match(Warp& w, const Instruction& i) {
    if (!meet_members(w, i.more[0])) return;
    const T* a = w.in<T>(i.a);
    Mask result[32], agreed = 0;
    each(w.active, [&](int lane) {
        Mask same = w.active & collect([&](int l) { return a[l] == a[lane]; });
        if (same == w.active) agreed |= 1u << lane;
        result[lane] = All && same != w.active ? 0 : same;
    });
    each(w.active, [&](int lane) { w.out<uint32_t>(i.d)[lane] = result[lane]; });
    if (All && i.more[1] != none) w.set_predicate(i.more[1], agreed);
}

void decode_match(Builder& b) {
    bool all = b.choose({"any", "all"}) == 1;
    if (!b.take("sync")) b.unknown();
    Type t = b.type();
    b.i.d = b.def(0, Type::B32);
    b.i.a = b.use(1, t);
    b.more(b.use(2, Type::U32));
    b.more(b.operand(0).second >= 0 ? b.def_register(b.operand(0).second) : none);
    bool wide = bits_of(t) == 64;
    b.emit(all ? (wide ? match<uint64_t, true> : match<uint32_t, true>) : wide ? match<uint64_t, false> : match<uint32_t, false>);
}

struct Sum { template <class T> static T apply(T a, T b) { return static_cast<T>(static_cast<uint32_t>(a) + static_cast<uint32_t>(b)); } };
struct Least { template <class T> static T apply(T a, T b) { return std::min(a, b); } };
struct Most { template <class T> static T apply(T a, T b) { return std::max(a, b); } };
struct Both { template <class T> static T apply(T a, T b) { return a & b; } };
struct Either { template <class T> static T apply(T a, T b) { return a | b; } };
struct OneOf { template <class T> static T apply(T a, T b) { return a ^ b; } };

template <class T, class Op> void reduce(Warp& w, const Instruction& i) {
    if (!meet_members(w, i.more[0])) return;
    const T* a = w.in<T>(i.a);
    int first = __builtin_ctz(w.active);
    T r = a[first];
    each(w.active & ~(1u << first), [&](int l) { r = Op::apply(r, a[l]); });
    assign(w.active, w.out<T>(i.d), [=](int) { return r; });
}

void decode_redux(Builder& b) {
    if (!b.take("sync")) b.unknown();
    int operation = b.choose({"add", "min", "max", "and", "or", "xor"});
    if (operation < 0) b.unknown();
    Type t = b.type();
    b.i.d = b.def(0, t);
    b.i.a = b.use(1, t);
    b.more(b.use(2, Type::U32));
    constexpr Handler plain[] = {reduce<uint32_t, Sum>, reduce<uint32_t, Least>, reduce<uint32_t, Most>, reduce<uint32_t, Both>, reduce<uint32_t, Either>, reduce<uint32_t, OneOf>};
    b.emit(is_signed(t) && operation == 1 ? reduce<int32_t, Least> : is_signed(t) && operation == 2 ? reduce<int32_t, Most> : plain[operation]);
}

void active_mask(Warp& w, const Instruction& i) {
    Mask mask = w.active;
    assign(w.active, w.out<uint32_t>(i.d), [=](int) { return mask; });
}

void elect(Warp& w, const Instruction& i) {
    if (!meet_members(w, i.more[0])) return;
    uint32_t leader = static_cast<uint32_t>(__builtin_ctz(w.active));
    if (i.d != none) assign(w.active, w.out<uint32_t>(i.d), [=](int) { return leader; });
    w.set_predicate(i.more[1], 1u << leader);
}

void decode_elect(Builder& b) {
    if (!b.take("sync")) b.unknown();
    const ptx::Operand& d = b.operand(0);
    if (d.kind == ptx::Operand::Kind::Register) b.i.d = b.def(d, Type::B32);
    b.more(b.use(1, Type::U32));
    b.more(b.def_register(d.second));
    b.emit(elect);
}

void warp_barrier(Warp& w, const Instruction& i) {
    if (!meet_members(w, i.a)) return;
    synchronise_lanes(w, w.active);
}

}  // namespace

void decode_warp_barrier(Builder& b) {
    if (!b.take("sync")) b.unknown();
    b.i.a = b.use(0, Type::U32);
    b.kind(BarrierClass);
    b.emit(warp_barrier);
}

const DecoderTable& collective_decoders() {
    static const DecoderTable table{{"shfl", decode_shfl}, {"vote", decode_vote}, {"match", decode_match}, {"redux", decode_redux},
                                    {"activemask", [](Builder& b) {
                                         Type t = b.type();
                                         b.i.d = b.def(0, t);
                                         b.emit(active_mask);
                                     }},
                                    {"elect", decode_elect}};
    return table;
}

}  // namespace kf
