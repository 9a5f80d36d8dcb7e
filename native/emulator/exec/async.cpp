// async.cpp - copies that run while the thread goes on: cp.async in groups, and mbarriers.
//
// A copy is made as late as the program allows: the destination is poisoned when it is issued and filled when the thread waits for it.
#include <algorithm>

#include "builder.h"
#include "memory.h"

namespace kf {
namespace {

constexpr int poison = 0xFF;

// Copies are of whole words.
void mark_pending(Block& block, uint32_t offset, uint32_t bytes, bool pending) {
    for (uint32_t word = offset / 4; word < (offset + bytes) / 4; ++word) block.words[word].pending = pending ? 15 : 0;
}

// The thread sees the data from here on; others do after a barrier, as after a write made now.
void complete(Warp& w, const PendingCopy& copy) {
    Block& block = *w.block;
    char* to = block.shared + copy.destination;
    if (copy.source_bytes) std::memcpy(to, reinterpret_cast<const void*>(copy.source), copy.source_bytes);
    std::memset(to + copy.source_bytes, 0, copy.bytes - copy.source_bytes);
    if (!block.launch.settings.checks) return;
    mark_pending(block, copy.destination, copy.bytes, false);
    for (uint32_t word = copy.destination / 4; word < (copy.destination + copy.bytes) / 4; ++word)
        block.words[word].write_stamp[0] = block.words[word].write_stamp[1] = block.stamp;
}

void read_lanes(Warp& w, const Instruction& source, Mask lanes, uint32_t bytes, Pointers& from) {
    Mask whole = w.active;
    w.active = lanes;
    if (lanes) locate(w, source, Window::Global, {.bytes = bytes, .reads = true}, from);
    w.active = whole;
}

// The first bytes of one lane's source; none at all may lie anywhere.
void read_bytes(Warp& w, const Instruction& source, int lane, uint32_t count, Pointers& from) {
    Instruction step = source;
    from.at[lane] = nullptr;
    for (uint32_t b = 0; b < count; ++b, ++step.immediate) {
        Pointers one{};  // locate fills in all lanes
        read_lanes(w, step, 1u << lane, 1, one);
        if (b == 0) from.at[lane] = one.at[lane];
    }
}

// a: shared address; b: global address; c: source bytes or none; immediate: offset of the destination; target: that of the source; flags: bytes.
void copy_async(Warp& w, const Instruction& i) {
    uint32_t bytes = i.flags;
    const uint32_t* destination = w.in<uint32_t>(i.a);
    Instruction source = i;  // the same statement with the source as its address
    source.a = i.b;
    source.immediate = static_cast<int32_t>(i.target);
    Mask whole = w.active;
    const uint32_t* limited = i.c == none ? nullptr : w.in<uint32_t>(i.c);
    Mask full = limited ? whole & collect([=](int l) { return limited[l] >= bytes; }) : whole;
    Pointers from{};
    read_lanes(w, source, full, bytes, from);
    each(whole & ~full, [&](int l) { read_bytes(w, source, l, limited[l], from); });
    uint32_t offsets[32];
    Access access{.bytes = bytes, .writes = true};
    each(whole, [&](int l) {
        offsets[l] = destination[l] + static_cast<uint32_t>(i.immediate);
        char* to = locate_shared(w, l, offsets[l], access);
        std::memset(to, poison, bytes);
        if (w.block->launch.settings.checks) mark_pending(*w.block, offsets[l], bytes, true);
        uint32_t source_bytes = limited ? std::min(limited[l], bytes) : bytes;
        w.copies.push_back({reinterpret_cast<uint64_t>(from.at[l]), offsets[l], w.copy_group[l], static_cast<uint8_t>(l), static_cast<uint8_t>(bytes), static_cast<uint8_t>(source_bytes)});
    });
    count_shared_rows(w, whole, offsets, access);
}

void complete_where(Warp& w, auto&& done) {
    auto rest = std::stable_partition(w.copies.begin(), w.copies.end(), [&](const PendingCopy& c) { return !done(c); });
    for (auto it = rest; it != w.copies.end(); ++it) complete(w, *it);
    w.copies.erase(rest, w.copies.end());
}

void commit_group(Warp& w, const Instruction&) {
    each(w.active, [&](int l) { ++w.copy_group[l]; });
}

// immediate: groups that may stay open. Group numbers below copy_group - immediate are done then.
void wait_group(Warp& w, const Instruction& i) {
    complete_where(w, [&](const PendingCopy& c) { return (w.active >> c.lane & 1) && c.group + static_cast<uint32_t>(i.immediate) < w.copy_group[c.lane]; });
}

void wait_all(Warp& w, const Instruction&) {
    complete_where(w, [&](const PendingCopy& c) { return w.active >> c.lane & 1; });
}

// ---- mbarriers

constexpr uint32_t expects_flag = 1, parity_flag = 2, no_increment_flag = 4;

}  // namespace

MemoryBarrier& memory_barrier(Warp& w, int lane, uint32_t offset) {
    auto it = w.block->memory_barriers.find(offset);
    if (it == w.block->memory_barriers.end()) w.block->fail(w, lane, 719, "mbarrier at shared offset " + std::to_string(offset) + " is not initialised");
    return it->second;
}

void end_phase(Block& block, uint32_t offset, MemoryBarrier& m) {
    if (m.pending || m.transactions) return;
    m.phase ^= 1;
    m.pending = m.expected;
    show_landed(block, offset, m);
}

namespace {

void arrive(Warp& w, int lane, uint32_t offset, uint32_t count) {
    MemoryBarrier& m = memory_barrier(w, lane, offset);
    if (m.pending < count) w.block->fail(w, lane, 719, "more arrivals at the mbarrier than the " + std::to_string(m.expected) + " it expects");
    if (w.block->launch.settings.checks) publish(w, m.clock);
    m.pending -= count;
    w.block->progressed();
    end_phase(*w.block, offset, m);
}

uint32_t barrier_offset(const Warp& w, const Instruction& i, int lane) { return w.in<uint32_t>(i.a)[lane] + static_cast<uint32_t>(i.immediate); }

void initialise(Warp& w, const Instruction& i) {
    each(w.active, [&](int l) {
        uint32_t offset = barrier_offset(w, i, l), count = w.in<uint32_t>(i.b)[l];
        locate_shared(w, l, offset, {.bytes = 8, .writes = true, .strong = true});
        w.block->memory_barriers[offset] = {count, count, 0, 0, {}};
    });
}

void invalidate(Warp& w, const Instruction& i) {
    each(w.active, [&](int l) { w.block->memory_barriers.erase(barrier_offset(w, i, l)); });
}

void arrive_lanes(Warp& w, const Instruction& i) {
    each(w.active, [&](int l) {
        uint32_t offset = barrier_offset(w, i, l);
        MemoryBarrier& m = memory_barrier(w, l, offset);
        if (i.d != none) w.out<uint64_t>(i.d)[l] = m.phase;
        if (i.flags & expects_flag) m.transactions += w.in<uint32_t>(i.b)[l];
        uint32_t count = !(i.flags & expects_flag) && i.b != none ? w.in<uint32_t>(i.b)[l] : 1;
        arrive(w, l, offset, count);
    });
}

void expect_bytes(Warp& w, const Instruction& i) {
    each(w.active, [&](int l) { memory_barrier(w, l, barrier_offset(w, i, l)).transactions += w.in<uint32_t>(i.b)[l]; });
}

// cp.async.mbarrier.arrive: the thread's copies are done when it arrives.
void arrive_after_copies(Warp& w, const Instruction& i) {
    wait_all(w, i);
    each(w.active, [&](int l) {
        uint32_t offset = barrier_offset(w, i, l);
        if (!(i.flags & no_increment_flag)) ++memory_barrier(w, l, offset).pending;
        arrive(w, l, offset, 1);
    });
}

void test_wait(Warp& w, const Instruction& i) {
    Mask done = 0;
    uint32_t awaited = none;
    each(w.active, [&](int l) {
        uint32_t offset = barrier_offset(w, i, l);
        MemoryBarrier& m = memory_barrier(w, l, offset);
        uint32_t phase = i.flags & parity_flag ? w.in<uint32_t>(i.b)[l] : static_cast<uint32_t>(w.in<uint64_t>(i.b)[l]);
        if ((phase & 1) == m.phase) {
            awaited = offset;
            return;
        }
        done |= 1u << l;
        if (w.block->launch.settings.checks && !m.clock.empty()) learn(w, m.clock, l);
    });
    w.set_predicate(i.d, done);
    if (done == w.active) {
        w.poll = {};
        return w.block->progressed();
    }
    w.block->wait_in_vain(w, awaited, w.active & ~done);
    w.yields = true, ++w.spins, w.reschedule();
}

// ---- decoding

void decode_cp(Builder& b) {
    if (!b.take("async")) b.unknown();
    if (b.take("bulk")) return decode_bulk(b);
    if (b.take("commit_group")) return b.emit(commit_group);
    if (b.take("wait_all")) return b.emit(wait_all);
    if (b.take("wait_group")) {
        b.i.immediate = static_cast<int64_t>(b.immediate(0));
        return b.emit(wait_group);
    }
    if (b.take("mbarrier")) {
        b.take("arrive");
        b.i.flags = b.take("noinc") ? no_increment_flag : 0;
        b.choose({"shared", "shared::cta"});
        b.type();
        b.address(0, true);
        return b.emit(arrive_after_copies);
    }
    bool hint = b.has("L2::cache_hint");
    b.drop_hints();
    if (b.choose({"shared", "shared::cta"}) < 0 || !b.take("global")) b.unknown();
    uint64_t bytes = b.immediate(2);
    if (bytes != 4 && bytes != 8 && bytes != 16) b.fail("cp.async of " + std::to_string(bytes) + " bytes, expected 4, 8 or 16");
    b.address(1, false);
    b.i.b = b.i.a;
    b.i.target = static_cast<uint32_t>(b.i.immediate);
    b.address(0, true);
    if (b.count() > (hint ? 4u : 3u)) b.i.c = b.use(3, Type::U32);
    b.i.flags = static_cast<uint32_t>(bytes);
    b.emit(copy_async);
}

void decode_mbarrier(Builder& b) {
    int form = b.choose({"init", "inval", "arrive", "expect_tx", "test_wait", "try_wait"});
    bool expects = form == 2 && b.take("expect_tx"), parity = b.take("parity");
    b.choose({"release", "acquire", "relaxed"});
    b.choose({"cta", "cluster"});
    b.choose({"shared", "shared::cta", "shared::cluster"});
    b.type();
    b.i.flags = (expects ? expects_flag : 0) | (parity ? parity_flag : 0);
    switch (form) {
        case 0:
            b.address(0, true);
            b.i.b = b.use(1, Type::U32);
            return b.emit(initialise);
        case 1: b.address(0, true); return b.emit(invalidate);
        case 2:
            if (b.operand(0).kind == ptx::Operand::Kind::Register) b.i.d = b.def(0, Type::B64);
            b.address(1, true);
            if (b.count() > 2) b.i.b = b.use(2, Type::U32);
            return b.emit(arrive_lanes);
        case 3:
            b.address(0, true);
            b.i.b = b.use(1, Type::U32);
            return b.emit(expect_bytes);
        case 4: case 5:
            b.i.d = b.def(0, Type::Pred);
            b.address(1, true);
            b.i.b = b.use(2, parity ? Type::U32 : Type::B64);
            return b.emit(test_wait);
        default: b.unknown();
    }
}

}  // namespace

const DecoderTable& async_decoders() {
    static const DecoderTable table{{"cp", decode_cp}, {"mbarrier", decode_mbarrier}};
    return table;
}

}  // namespace kf
