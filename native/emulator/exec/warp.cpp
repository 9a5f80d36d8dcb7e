// warp.cpp - which lanes of a warp run next: groups that part at branches, wait in collectives and meet again.
#include <algorithm>

#include "memory.h"

namespace kf {
namespace {

constexpr uint32_t patience = 4096;  // backward branches after which a group or warp lets others go on

}  // namespace

void Warp::run() {
    yields = false;
    if (mask == 0 && !next_group()) return;
    if (block->launch.counting || block->launch.settings.cover) loop<true>();
    else loop<false>();
}

template <bool Counting> void Warp::loop() {
    const Instruction* instructions = code->instructions.data();
    for (;;) {
        const Instruction& i = instructions[pc];
        active = i.guard == none ? mask : mask & (predicate(i.guard) ^ i.guard_flip);
        if constexpr (Counting) {
            block->tally.threads[pc] += static_cast<uint64_t>(__builtin_popcount(active));
            block->tally.warps[pc] += active != 0;
        }
        ++pc;
        if (watched && active) [[unlikely]] check_product_registers(*this);
        if (active) i.run(*this, i);
        if (pc >= limit && !next_group()) return;
    }
}

// Picks the group that runs next; false when the warp has to wait or gives its turn away.
bool Warp::next_group() {
    if (mask) ready.push_back({mask, pc, spins, Group::State::Ready, 0, 0});
    mask = 0;
    if (split_pending) split_lanes();
    if (ready.empty() || yields) return false;
    const Settings& settings = block->launch.settings;
    size_t best = 0;
    if (settings.single_lanes) {
        if (settings.order == Settings::Order::Random) best = block->random() % ready.size();
        else for (size_t k = 1; k < ready.size(); ++k) {
            bool earlier = settings.order == Settings::Order::Fifo ? ready[k].mask < ready[best].mask : ready[k].mask > ready[best].mask;
            if (std::make_pair(ready[k].spins, !earlier) < std::make_pair(ready[best].spins, true)) best = k;
        }
    } else {
        for (size_t k = 1; k < ready.size(); ++k)
            if (std::make_pair(ready[k].spins, ready[k].pc) < std::make_pair(ready[best].spins, ready[best].pc)) best = k;
    }
    Group next = ready[best];
    ready.erase(ready.begin() + static_cast<std::ptrdiff_t>(best));
    mask = next.mask, pc = next.pc, spins = next.spins;
    limit = none;
    if (settings.single_lanes) return true;
    for (size_t k = 0; k < ready.size();) {
        if (ready[k].pc == pc) {
            mask |= ready[k].mask;
            spins = std::min(spins, ready[k].spins);
            ready.erase(ready.begin() + static_cast<std::ptrdiff_t>(k));
        } else {
            if (ready[k].pc > pc) limit = std::min(limit, ready[k].pc);
            ++k;
        }
    }
    return true;
}

// The active lanes go to target, the other lanes of the group on to the next instruction.
void Warp::branch(Mask taken, uint32_t target) {
    if (target < pc) {
        executed += pc - target;
        if (++branches % patience == 0) {
            if (block->launch.stopped) throw Stop{};
            if (executed > block->launch.watchdog) block->fail(*this, __builtin_ctz(taken), 702,
                "watchdog: the warp ran " + std::to_string(executed) + " instructions without an end");
            ++spins;
            yields = true;
            if (!poll.recent) block->progressed();  // a loop that waits for something else
            poll.recent = false;
            reschedule();
        } else if (!ready.empty()) reschedule();
    }
    if (taken == mask) {
        pc = target;
        return;
    }
    ready.push_back({mask & ~taken, pc, spins, Group::State::Ready, 0, 0});
    mask = taken;
    pc = target;
    reschedule();
}

// Takes lanes out of the running group until the collective or barrier lets them go.
void Warp::park(Group::State state, Mask lanes, Mask required, uint32_t barrier) {
    waiting.push_back({lanes, state == Group::State::Collective ? pc - 1 : pc, spins, state, required, barrier});
    mask &= ~lanes;
    reschedule();
}

// A warp collective: the active lanes arrive. True when all required lanes are there; they are the active ones then, one group.
bool Warp::meet(Mask required) {
    required &= live;
    if ((active & required) != active) block->fail(*this, __builtin_ctz(active & ~required), 715, "the lane is not in its own mask " + std::to_string(required));
    if (mask != active) {
        ready.push_back({mask & ~active, pc, spins, Group::State::Ready, 0, 0});
        mask = active;
        reschedule();
    }
    if (active != required) {
        Mask there = active;
        for (const Group& g : waiting)
            if (g.state == Group::State::Collective && g.pc == here() && g.required == required) there |= g.mask;
        if (there != required) {
            park(Group::State::Collective, active, required, 0);
            return false;
        }
        std::erase_if(waiting, [&](const Group& g) { return g.state == Group::State::Collective && g.pc == here() && g.required == required; });
        mask = active = there;
        reschedule();
    }
    const Settings& settings = block->launch.settings;
    if (settings.order == Settings::Order::Random && block->random() % 4 == 0) yields = true, reschedule();
    if (settings.single_lanes) split_pending = true, reschedule();
    return true;
}

void Warp::split_lanes() {
    split_pending = false;
    std::vector<Group> whole;
    whole.swap(ready);
    for (const Group& g : whole) each(g.mask, [&](int l) { ready.push_back({1u << l, g.pc, g.spins, g.state, 0, 0}); });
}

void Warp::exit(Mask lanes) {
    live &= ~lanes;
    mask &= ~lanes;
    reschedule();
    poll.lanes &= ~lanes;
    block->progressed();
    if (live == 0) check_warpgroup_ended(*this);
    block->live_threads -= static_cast<uint32_t>(__builtin_popcount(lanes));
    // Those that waited for the lanes try again.
    for (size_t k = 0; k < waiting.size();) {
        if (waiting[k].state == Group::State::Collective && (waiting[k].required & lanes)) {
            waiting[k].state = Group::State::Ready;
            ready.push_back(waiting[k]);
            waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(k));
        } else ++k;
    }
    block->check_barriers();
}

}  // namespace kf
