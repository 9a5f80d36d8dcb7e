// warp.h - the state of a running block: warps, their lanes in groups, barriers, shared memory.
//
// A warp is a set of groups: lanes that stand at one instruction. One group runs at a time, the one with the lowest program counter first, so
// that lanes that parted meet again. Groups wait in a warp collective until the lanes it names are there, or in a block barrier.
#pragma once

#include <atomic>
#include <cstring>
#include <random>
#include <unordered_map>

#include "code.h"

namespace kf {

using Mask = uint32_t;
constexpr Mask all_lanes = ~0u;

// Calls f(lane) for every lane of the mask.
template <class F> inline void each(Mask mask, F&& f) {
    for (; mask; mask &= mask - 1) f(__builtin_ctz(mask));
}

struct Stop {};  // thrown when another block failed

struct Block;

struct Group {
    enum class State : uint8_t { Ready, Collective, Barrier };
    Mask mask = 0;
    uint32_t pc = 0;        // next instruction; of a waiting group in a collective: that instruction
    uint32_t spins = 0;     // how often it lost its turn
    State state = State::Ready;
    Mask required = 0;      // lanes that the collective waits for
    uint32_t barrier = 0;
};

// A copy to shared memory that is issued and not yet waited for.
struct PendingCopy {
    uint64_t source;
    uint32_t destination, group;
    uint8_t lane, bytes, source_bytes;
};

// A copy of the copy engine that is issued and whose phase has not ended. A row without a source is zeros.
struct BulkCopy {
    struct Row { uint64_t source; uint32_t destination, bytes; };
    uint32_t barrier = 0, warp = 0, pc = 0;  // pc: of the instruction that issued it
    uint8_t lane = 0, swizzle_bits = 0;
    bool landed = false;
    std::vector<Row> rows{};
};

struct Products;  // of wgmma that are not waited for; see warpgroup.cpp

struct Warp {
    Block* block = nullptr;
    const char* bases[2] = {};  // registers, constants
    const Code* code = nullptr;
    uint32_t index = 0;         // in the block
    Mask live = 0;

    // The running group.
    Mask mask = 0, active = 0;
    uint32_t pc = 0, limit = 0, spins = 0, branches = 0;
    bool yields = false;        // gives the turn to another warp
    bool split_pending = false; // Settings::single_lanes: the group falls apart after this instruction
    std::vector<Group> ready, waiting;

    uint64_t executed = 0;      // instructions since the last progress, as far as branches tell
    std::vector<PendingCopy> copies;
    uint32_t copy_group[32] = {};
    std::shared_ptr<Products> products;
    bool watched = false;             // registers belong to products
    uint32_t warpgroup_step = 0;      // instructions of the warpgroup that this warp has been through
    uint32_t proxy_fence[32] = {};    // stamp of the last one by lane

    // The mbarrier that lanes waited for in vain when they last tried.
    struct Poll { uint32_t barrier = none, at = 0; Mask lanes = 0; bool recent = false; } poll;

    // Ordering inside the warp, see race.h.
    std::vector<uint32_t> clock;      // per warp of the block: accesses stamped below this happened before
    uint32_t synchronised = 0;        // stamp of the last synchronisation of all lanes
    std::vector<uint32_t> pair_synchronised;  // [lane][lane], for partial ones

    char* registers() { return const_cast<char*>(bases[0]); }
    template <class T> const T* in(uint32_t operand) const { return reinterpret_cast<const T*>(bases[operand & 1] + (operand & ~1u)); }
    template <class T> T* out(uint32_t operand) { return reinterpret_cast<T*>(registers() + operand); }
    Mask predicate(uint32_t operand) const { return *in<Mask>(operand); }
    void set_predicate(uint32_t operand, Mask value) {
        Mask* p = out<Mask>(operand);
        *p = (*p & ~active) | (value & active);
    }

    void run();                 // until it waits, ends or yields
    bool next_group();
    void branch(Mask taken, uint32_t target);
    void park(Group::State state, Mask lanes, Mask required, uint32_t barrier);
    bool meet(Mask required);  // true: all required lanes are active now
    void exit(Mask lanes);
    void split_lanes();
    void reschedule() { limit = 0; }
    uint32_t thread(int lane) const { return index * 32 + lane; }
    uint32_t here() const { return pc - 1; }  // the instruction that runs

private:
    template <bool Counting> void loop();
};

struct Barrier {
    uint32_t expected = 0, arrived = 0;  // expected: 0 all threads of the block
    bool in_use = false;
    uint32_t votes = 0;                  // lanes whose predicate held, for bar.red
    uint32_t last_votes = 0, last_threads = 0;  // of the completed barrier
    std::vector<uint32_t> clock;
    std::vector<Mask> participants;      // per warp
};

struct MemoryBarrier {  // mbarrier
    uint32_t expected = 0, pending = 0, phase = 0;
    int64_t transactions = 0;
    std::vector<uint32_t> clock;
};

struct SharedWord;

// What all four warps of a warpgroup have to do alike.
struct WarpgroupStep {
    uint32_t pc;
    uint64_t operands[3];
    bool operator==(const WarpgroupStep&) const = default;
};

// What all blocks of a launch share.
struct Launch {
    const LaunchRequest& request;
    const LoadedModule& module;
    const Code& code;
    Heap& heap;
    const Settings& settings;
    std::atomic<bool> stopped{false};
    std::atomic<uint64_t> next_block{0};
    uint32_t dynamic_base = 0;   // offset of dynamic shared memory
    uint32_t shared_bytes = 0;   // end of all shared memory
    uint64_t watchdog = 0;
    bool counting = false;
};

// Counts of one worker; per instruction, so that totals by opcode come for free.
struct Tally {
    std::vector<uint64_t> threads, warps;  // per instruction
    Counters memory;                       // only the memory fields
};

// One block; a worker keeps the object and runs block after block in it.
struct Block {
    explicit Block(Launch& launch);
    ~Block();
    void run(uint64_t linear_index);

    Launch& launch;
    Tally tally;
    uint64_t linear = 0;
    Dim3 id;
    std::vector<Warp> warps;
    char* shared = nullptr;
    char* local = nullptr;
    SharedWord* words = nullptr;      // shadow of shared memory
    uint32_t live_threads = 0;
    Barrier barriers[16];
    std::unordered_map<uint32_t, MemoryBarrier> memory_barriers;
    std::vector<BulkCopy> bulk_copies;
    std::vector<std::vector<WarpgroupStep>> warpgroups;
    uint32_t vain_polls = 0;          // of mbarriers since anything else happened
    std::mt19937_64 random;
    uint32_t stamp = 1, full_barrier_stamp = 0;  // of synchronisations in the block
    bool acquired = false;            // an atomic or acquiring access was made: other blocks' words may be read
    uint32_t ordered_operation = 0;   // last answer of Ordering: this one is before ours

    void arrive(Warp& warp, uint32_t barrier, uint32_t expected, bool waits);
    void check_barriers();
    void progressed() { vain_polls = 0; }
    // Lanes found a phase of an mbarrier unfinished. A deadlock when nothing else has happened for long.
    void wait_in_vain(Warp& warp, uint32_t barrier, Mask lanes);
    uint32_t copy_engine() const { return warp_count_ * 32; }  // its thread number
    [[noreturn]] void fail(const Warp& warp, int lane, int result, const std::string& what) const;
    [[noreturn]] void fail(int result, const std::string& report) const { throw Fault{result, report}; }
    [[noreturn]] void deadlock() const;
    std::string thread_name(uint32_t thread) const;  // "(x,y,z)", or "of the copy engine"
    std::string heading() const;                     // "kernel NAME block (x,y,z)"

private:
    void release(uint32_t barrier);
    bool step();
    char* registers_ = nullptr;
    uint32_t warp_count_ = 0;
};

// ---- handlers by family: null when the family does not know the opcode (see lower.cpp)

inline float as_float(uint32_t bits) { float f; std::memcpy(&f, &bits, 4); return f; }
inline uint32_t as_bits(float value) { uint32_t u; std::memcpy(&u, &value, 4); return u; }

// Destination lanes from a function of the lane. Sources are at the same offset as the destination or apart, never half over it.
template <class D, class F> inline void assign(Mask active, D* d, F&& f) {
    if (active == all_lanes) {
#pragma GCC ivdep
        for (int lane = 0; lane < 32; ++lane) d[lane] = f(lane);
    } else {
        D value[32];
#pragma GCC ivdep
        for (int lane = 0; lane < 32; ++lane) value[lane] = f(lane);
        for (int lane = 0; lane < 32; ++lane) d[lane] = active >> lane & 1 ? value[lane] : d[lane];
    }
}

// A lane mask from a function of the lane.
template <class F> inline Mask collect(F&& f) {
    Mask bits = 0;
    for (int lane = 0; lane < 32; ++lane) bits |= f(lane) ? 1u << lane : 0u;
    return bits;
}

}  // namespace kf
