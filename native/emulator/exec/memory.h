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
    uint8_t older_bytes : 4, write_strong : 1, read_strong : 1;
};

// A synchronisation of the named lanes of one warp.
void synchronise_lanes(Warp& w, Mask lanes);
// The warp leaves its knowledge for others, or takes up theirs.
void publish(Warp& w, std::vector<uint32_t>& clock);
void learn(Warp& w, const std::vector<uint32_t>& clock);
// The same for a lane, which learns of the other lanes of its warp too.
void learn(Warp& w, const std::vector<uint32_t>& clock, int lane);

}  // namespace kf
