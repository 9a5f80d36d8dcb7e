// memory.h - every access to memory goes through locate: it checks lane by lane and hands out host pointers.
#pragma once

#include "warp.h"

namespace kf {

enum class Window : uint32_t { Global, Shared, Local, Generic };

struct Access {
    uint32_t bytes = 4;
    bool reads = false, writes = false;
    bool strong = false;    // atomic, volatile, relaxed: races with weak accesses only
    bool acquires = false;  // what other blocks wrote may be read from now on
    const char* values = nullptr;  // of a store, lane after lane: lanes that write one word may agree
};

// Host addresses of the active lanes.
struct Pointers {
    char* at[32];
};

// Checks bounds, alignment, unwritten memory and races of all active lanes and counts the traffic.
void locate(Warp& w, const Instruction& i, Window window, const Access& access, Pointers& pointers);

// For instructions that make shared addresses by themselves: one lane, one offset.
char* locate_shared(Warp& w, int lane, uint32_t offset, const Access& access);
void count_shared_rows(Warp& w, Mask mask, const uint32_t* offset, const Access& access);

// The copy engine and wgmma reach memory beside the threads ("the async proxy").
// 4 bytes of shared memory become the destination of a copy that this lane starts: nobody may touch them until it is done.
void claim_for_copy(Warp& w, int lane, uint32_t offset);
// Checks and counts the source of a copy. Bytes that nobody wrote may be copied; they are unwritten at their destination too.
void read_for_copy(Warp& w, int lane, uint64_t address, uint32_t bytes);
// 16 bytes that a product of this warp is going to read: written, in order, and behind a proxy fence if a thread wrote them.
void begin_product_read(Warp& w, uint32_t offset);
// The product has read them: nobody wrote since the stamp at which it was issued.
void end_product_read(Warp& w, uint32_t offset, uint32_t issued);
// The running lanes' writes to shared memory so far may be read by the async proxy.
void fence_proxy(Warp& w);

MemoryBarrier& memory_barrier(Warp& w, int lane, uint32_t offset);
// Ends the phase of the barrier when all arrivals and bytes are in.
void end_phase(Block& block, uint32_t offset, MemoryBarrier& barrier);

// Makes copies that this barrier counts, for which somebody waits; or any copy.
void land_awaited(Block& block, uint32_t barrier);
void land_any(Block& block);
// The phase that counted copies has ended: who waits for it learns of their bytes.
void show_landed(Block& block, uint32_t barrier, MemoryBarrier& m);
void check_copies_ended(Block& block);

// Before an instruction of a warp with products that are not waited for: their registers may be moved, not read or written.
void check_product_registers(Warp& w);
// The warp ends: its warpgroup must have done the same.
void check_warpgroup_ended(Warp& w);

// What is known about 4 bytes of shared memory; stamps are Block::stamp at the access.
struct SharedWord {
    uint32_t write_stamp[2];    // by half
    uint16_t writer[2];         // thread
    uint32_t write_at, read_at; // instructions
    uint32_t read_stamp;
    uint32_t older_readers;     // warps that read before the last reader
    uint32_t older_stamp;       // of the earliest of them
    uint16_t reader;
    uint16_t written : 4, pending : 4, write_bytes : 4, read_bytes : 4;
    uint8_t older_bytes : 4, write_strong : 1, read_strong : 1, read_by_warp : 1;  // by_warp: by a product, which all lanes have waited for
};

// A synchronisation of the named lanes of one warp.
void synchronise_lanes(Warp& w, Mask lanes);
// The warp leaves its knowledge for others, or takes up theirs.
void publish(Warp& w, std::vector<uint32_t>& clock);
void learn(Warp& w, const std::vector<uint32_t>& clock);
// The same for a lane, which learns of the other lanes of its warp too.
void learn(Warp& w, const std::vector<uint32_t>& clock, int lane);

}  // namespace kf
