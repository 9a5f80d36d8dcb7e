// control.cpp - branches, exit, traps, fences and block barriers.
#include "builder.h"
#include "memory.h"

namespace kf {
namespace {

void jump(Warp& w, const Instruction& i) { w.branch(w.active, i.target); }

// more: the targets by index. Lanes with the same index stay together.
void jump_by_index(Warp& w, const Instruction& i) {
    const uint32_t* index = w.in<uint32_t>(i.a);
    Mask rest = w.active, whole = w.mask;
    uint32_t next = w.pc;
    if (whole != rest) w.ready.push_back({whole & ~rest, next, w.spins, Group::State::Ready, 0, 0});
    w.mask = 0;
    while (rest) {
        uint32_t value = index[__builtin_ctz(rest)];
        if (value >= i.flags) w.block->fail(w, __builtin_ctz(rest), 718, "branch index " + std::to_string(value) + " of " + std::to_string(i.flags) + " targets");
        Mask same = rest & collect([=](int l) { return index[l] == value; });
        w.ready.push_back({same, i.flags == 1 ? i.target : i.more[value], w.spins, Group::State::Ready, 0, 0});
        rest &= ~same;
    }
    w.reschedule();
}

void leave(Warp& w, const Instruction&) { w.exit(w.active); }
void trap(Warp& w, const Instruction& i) { w.block->fail(w, __builtin_ctz(w.active), static_cast<int>(i.flags), i.flags == 710 ? "assertion failed" : "trap"); }
void nothing(Warp&, const Instruction&) {}

void fence(Warp& w, const Instruction&) {
    if (w.block->launch.settings.order == Settings::Order::Random && w.block->random() % 4 == 0) w.yields = true, w.reschedule();
}

void give_way(Warp& w, const Instruction&) { w.yields = true, ++w.spins, w.reschedule(); }

void decode_bra(Builder& b) {
    b.take("uni");
    b.ends();
    b.emit(jump);
}

void decode_brx(Builder& b) {
    b.take("idx"), b.take("uni");
    b.i.a = b.use(0, Type::U32);
    b.i.flags = b.targets();
    b.ends();
    b.emit(jump_by_index);
}

void decode_exit(Builder& b) {
    b.take("uni");
    b.ends();
    b.emit(leave);
}

void decode_trap(Builder& b) {
    b.i.flags = b.take("assert") ? 710 : 719;
    b.emit(trap);
}

void decode_nothing(Builder& b) {
    b.take_all();
    b.emit(nothing);
}

void fence_async_proxy(Warp& w, const Instruction& i) {
    fence_proxy(w);
    fence(w, i);
}

void decode_fence(Builder& b) {
    bool of_proxy = b.has("proxy") && b.has("async");
    b.take_all();
    b.emit(of_proxy ? fence_async_proxy : fence);
}

// ---- block barriers

enum class Vote : uint32_t { None, Popc, And, Or };
constexpr uint32_t aligned_flag = 4, waits_flag = 8, negated_flag = 16;

// a: barrier, b: thread count or none, c: predicate of a vote.
void block_barrier(Warp& w, const Instruction& i) {
    if ((i.flags & aligned_flag) && !w.meet(all_lanes)) return;
    int lane = __builtin_ctz(w.active);
    uint32_t barrier = w.in<uint32_t>(i.a)[lane], count = i.b == none ? 0 : w.in<uint32_t>(i.b)[lane];
    if (barrier >= 16) w.block->fail(w, lane, 715, "barrier " + std::to_string(barrier) + ", expected 0 to 15");
    if (count % 32) w.block->fail(w, lane, 715, "barrier for " + std::to_string(count) + " threads, expected a multiple of 32");
    if (static_cast<Vote>(i.flags & 3) != Vote::None)
        w.block->barriers[barrier].votes += static_cast<uint32_t>(__builtin_popcount(w.active & (w.predicate(i.c) ^ (i.flags & negated_flag ? ~0u : 0))));
    w.block->arrive(w, barrier, count, i.flags & waits_flag);
}

// Runs after the barrier of a vote: reads what the barrier left.
template <Vote V> void vote_result(Warp& w, const Instruction& i) {
    const Barrier& b = w.block->barriers[w.in<uint32_t>(i.a)[__builtin_ctz(w.active)]];
    if constexpr (V == Vote::Popc) assign(w.active, w.out<uint32_t>(i.d), [&](int) { return b.last_votes; });
    else w.set_predicate(i.d, (V == Vote::And ? b.last_votes == b.last_threads : b.last_votes > 0) ? all_lanes : 0);
}

void decode_barrier(Builder& b) {
    bool is_bar = b.name() == "bar";
    if (is_bar && b.take("warp")) return decode_warp_barrier(b);
    if (b.has("cluster")) {
        b.take_all();
        return b.emit(nothing);  // a cluster of one block
    }
    b.take("cta");
    bool aligned = b.take("aligned") || is_bar;
    int form = b.choose({"sync", "arrive", "red"});
    if (form < 0) b.unknown();
    b.i.flags = (aligned ? aligned_flag : 0) | (form != 1 ? waits_flag : 0);
    if (form != 2) {
        b.i.a = b.use(0, Type::U32);
        if (b.count() > 1) b.i.b = b.use(1, Type::U32);
        b.kind(BarrierClass);
        return b.emit(block_barrier);
    }
    int vote = b.choose({"popc", "and", "or"}) + 1;
    Type t = b.type();
    const ptx::Operand& predicate = b.operand(b.count() - 1);
    b.i.a = b.use(1, Type::U32);
    if (b.count() > 3) b.i.b = b.use(2, Type::U32);
    b.i.c = b.use_predicate(predicate);
    b.i.flags |= static_cast<uint32_t>(vote) | (predicate.negated ? negated_flag : 0);
    b.kind(BarrierClass);
    b.emit(block_barrier);
    b.i.d = b.def(0, t);
    b.i.a = b.use(1, Type::U32);
    b.emit(vote == 1 ? vote_result<Vote::Popc> : vote == 2 ? vote_result<Vote::And> : vote_result<Vote::Or>);
}

}  // namespace

const DecoderTable& control_decoders() {
    static const DecoderTable table{
        {"bra", decode_bra}, {"brx", decode_brx}, {"exit", decode_exit}, {"ret", decode_exit}, {"trap", decode_trap}, {"brkpt", decode_nothing},
        {"membar", decode_fence}, {"fence", decode_fence}, {"griddepcontrol", decode_nothing}, {"discard", decode_nothing},
        {"nanosleep", [](Builder& b) { b.take_all(); b.emit(give_way); }}, {"bar", decode_barrier}, {"barrier", decode_barrier}};
    return table;
}

}  // namespace kf
