// block.cpp - runs one block: its warps in the order of the settings, its barriers, and the reports when something is wrong.
#include <algorithm>

#include "memory.h"

namespace kf {
namespace {

std::string triple(uint64_t linear, const Dim3& size) {
    std::string text = "(";
    text.append(std::to_string(linear % size.x)).append(",");
    text.append(std::to_string(linear / size.x % size.y)).append(",");
    return text.append(std::to_string(linear / size.x / size.y)).append(")");
}

char* allocate(size_t bytes) { return static_cast<char*>(std::aligned_alloc(1024, (bytes + 1024) / 1024 * 1024)); }

}  // namespace

Block::Block(Launch& l) : launch(l) {
    warp_count_ = static_cast<uint32_t>((l.request.block.count() + 31) / 32);
    registers_ = allocate(static_cast<size_t>(warp_count_) * l.code.register_bytes);
    std::memset(registers_, 0, static_cast<size_t>(warp_count_) * l.code.register_bytes);
    shared = allocate(l.shared_bytes);
    local = allocate(static_cast<size_t>(warp_count_) * 32 * l.code.info.local_bytes);
    words = reinterpret_cast<SharedWord*>(allocate((l.shared_bytes / 4 + 1) * sizeof(SharedWord)));
    tally.threads.resize(l.code.instructions.size());
    tally.warps.resize(l.code.instructions.size());
}

Block::~Block() {
    for (void* p : {static_cast<void*>(registers_), static_cast<void*>(shared), static_cast<void*>(local), static_cast<void*>(words)}) std::free(p);
}

void Block::run(uint64_t linear_index) {
    const Dim3& grid = launch.request.grid;
    linear = linear_index;
    id = {static_cast<uint32_t>(linear % grid.x), static_cast<uint32_t>(linear / grid.x % grid.y), static_cast<uint32_t>(linear / grid.x / grid.y)};
    live_threads = static_cast<uint32_t>(launch.request.block.count());
    stamp = 1, full_barrier_stamp = 0;
    acquired = false;
    for (Barrier& b : barriers) b = {};
    memory_barriers.clear();
    bulk_copies.clear();
    warpgroups.assign((warp_count_ + 3) / 4, {});
    vain_polls = 0;
    random.seed(launch.settings.seed * 0x9E3779B97F4A7C15ull + linear);
    std::memset(shared, 0xFF, launch.shared_bytes);
    std::memset(local, 0xFF, static_cast<size_t>(warp_count_) * 32 * launch.code.info.local_bytes);
    if (launch.settings.checks) std::memset(words, 0, (launch.shared_bytes / 4 + 1) * sizeof(SharedWord));

    warps.resize(warp_count_);
    for (uint32_t k = 0; k < warp_count_; ++k) {
        Warp& w = warps[k];
        uint32_t lanes = std::min(32u, live_threads - 32 * k);
        w = {};
        w.block = this;
        w.code = &launch.code;
        w.bases[0] = registers_ + static_cast<size_t>(k) * launch.code.register_bytes;
        w.bases[1] = launch.code.constants.get();
        w.index = k;
        w.live = lanes == 32 ? all_lanes : (1u << lanes) - 1;
        w.clock.assign(warp_count_ + 1, 0);  // the last one is the copy engine's
        w.ready.push_back({w.live, 0, 0, Group::State::Ready, 0, 0});
        if (launch.settings.single_lanes) w.split_lanes();
    }
    while (live_threads > 0)
        if (!step()) deadlock();
    check_copies_ended(*this);
}

// Runs one warp that can run; false when there is none.
bool Block::step() {
    bool any = false;
    if (launch.settings.order == Settings::Order::Random && !bulk_copies.empty() && random() % 4 == 0) land_any(*this);
    uint32_t offset = launch.settings.order == Settings::Order::Random ? static_cast<uint32_t>(random() % warp_count_) : 0;
    for (uint32_t k = 0; k < warp_count_; ++k) {
        uint32_t index = launch.settings.order == Settings::Order::Reverse ? warp_count_ - 1 - k : (k + offset) % warp_count_;
        Warp& w = warps[index];
        if (w.ready.empty() || !w.live) continue;
        if (launch.stopped) throw Stop{};
        w.run();
        any = true;
        if (launch.settings.order == Settings::Order::Random) break;
    }
    return any;
}

// Lanes of a warp come to a barrier; the last ones open it. expected 0: all threads of the block that live.
void Block::arrive(Warp& w, uint32_t number, uint32_t expected, bool waits) {
    Barrier& b = barriers[number];
    int lane = __builtin_ctz(w.active);
    if (b.in_use && b.expected != expected)
        fail(w, lane, 715, "barrier " + std::to_string(number) + " for " + std::to_string(expected) + " threads, others wait there for " + std::to_string(b.expected));
    b.in_use = true;
    b.expected = expected;
    b.arrived += static_cast<uint32_t>(__builtin_popcount(w.active));
    if (expected && b.arrived > expected)
        fail(w, lane, 715, "barrier " + std::to_string(number) + ": " + std::to_string(b.arrived) + " threads arrived, expected " + std::to_string(expected));
    publish(w, b.clock);
    progressed();
    if (waits) w.park(Group::State::Barrier, w.active, 0, number);
    if (b.arrived >= (expected ? expected : live_threads)) release(number);
}

void Block::wait_in_vain(Warp& w, uint32_t barrier, Mask lanes) {
    constexpr uint32_t polls_per_warp = 256;
    land_awaited(*this, barrier);
    w.poll = {barrier, w.here(), lanes, true};
    if (++vain_polls > polls_per_warp * warp_count_) deadlock();
}

void Block::check_barriers() {
    for (uint32_t k = 0; k < 16; ++k)
        if (barriers[k].in_use && barriers[k].expected == 0 && live_threads > 0 && barriers[k].arrived >= live_threads) release(k);
}

void Block::release(uint32_t number) {
    Barrier& b = barriers[number];
    ++stamp;
    if (b.expected == 0) full_barrier_stamp = stamp;
    for (Warp& w : warps) {
        bool took_part = false;
        for (size_t k = 0; k < w.waiting.size();) {
            Group g = w.waiting[k];
            if (g.state != Group::State::Barrier || g.barrier != number) {
                ++k;
                continue;
            }
            took_part = true;
            g.state = Group::State::Ready;
            w.ready.push_back(g);
            w.waiting.erase(w.waiting.begin() + static_cast<std::ptrdiff_t>(k));
        }
        if (!took_part) continue;
        learn(w, b.clock);
        w.synchronised = stamp;
        if (launch.settings.single_lanes && w.mask == 0) w.split_lanes();
    }
    uint32_t votes = b.votes, threads = b.arrived;
    b = {};
    b.last_votes = votes, b.last_threads = threads;
}

std::string Block::thread_name(uint32_t thread) const { return thread == copy_engine() ? "of the copy engine" : triple(thread, launch.request.block); }
std::string Block::heading() const { return "kernel " + launch.code.info.name + " block " + triple(linear, launch.request.grid); }

void Block::fail(const Warp& w, int lane, int result, const std::string& what) const {
    fail(result, heading() + " thread " + thread_name(w.thread(lane)) + " at " + launch.module.place(launch.code.places[w.here()]) + ": " + what);
}

// Nobody can run: says who waits where.
void Block::deadlock() const {
    std::string report = heading() + ", deadlock: no thread can run, " + std::to_string(live_threads) + " of " + std::to_string(launch.request.block.count()) + " are alive";
    for (const Warp& w : warps)
        for (const Group& g : w.waiting) {
            bool at_barrier = g.state == Group::State::Barrier;
            uint32_t lane = static_cast<uint32_t>(__builtin_ctz(g.mask)), last = 31u - static_cast<uint32_t>(__builtin_clz(g.mask));
            report += "\n  threads " + thread_name(w.thread(static_cast<int>(lane))) + " to " + thread_name(w.thread(static_cast<int>(last))) + " (" + std::to_string(__builtin_popcount(g.mask)) + ") wait "
                    + (at_barrier ? "in barrier " + std::to_string(g.barrier) + " (" + std::to_string(barriers[g.barrier].arrived) + " of "
                                    + std::to_string(barriers[g.barrier].expected ? barriers[g.barrier].expected : live_threads) + " arrived)"
                                  : "in '" + launch.code.opcodes[launch.code.places[g.pc].opcode] + "' for lane mask " + std::to_string(g.required))
                    + " at " + launch.module.place(launch.code.places[at_barrier ? g.pc - 1 : g.pc]);
        }
    for (const Warp& w : warps) {
        auto m = memory_barriers.find(w.poll.barrier);
        if (!w.poll.lanes || m == memory_barriers.end()) continue;
        report += "\n  threads from " + thread_name(w.thread(__builtin_ctz(w.poll.lanes))) + " on (" + std::to_string(__builtin_popcount(w.poll.lanes)) + ") wait for the mbarrier at shared offset "
                + std::to_string(m->first) + ", phase " + std::to_string(m->second.phase) + " (" + std::to_string(m->second.pending) + " of " + std::to_string(m->second.expected) + " arrivals and "
                + std::to_string(m->second.transactions) + " bytes are missing) at " + launch.module.place(launch.code.places[w.poll.at]);
    }
    fail(702, report);
}

}  // namespace kf
