// heap.h - device memory of the emulated GPUs, and what is remembered about every word of it.
//
// An address on the device is an address of this process, inside one large reserved range. Allocations start at a page and are followed by
// at least one page that belongs to nobody; an address is never handed out twice. So a stray, stale or host pointer is always told apart
// from a good one, in constant time.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

namespace kf {

// What is known about 4 bytes of device memory. All zero: never written.
struct Shadow {
    uint32_t operation;    // the copy, memset or kernel launch that wrote last; see Ordering in engine.h
    uint32_t block : 28;   // linear index of the block that wrote last, when the operation is a launch
    uint32_t written : 4;  // one bit per byte that holds a value
};

struct Allocation {
    uint64_t base;   // a multiple of 4,096
    uint64_t bytes;  // as asked for
    int device;      // ordinal
    uint32_t id;     // 1, 2, 3 ... in order of allocation
    bool freed;
    std::string label;  // "cuMemAlloc", or the name of a module's variable
};

class Heap {
public:
    static constexpr int devices = 2;
    static constexpr uint64_t device_bytes = uint64_t(2) << 30;  // what one device may hold at a time: all of it is filled when it is allocated

    Heap();
    ~Heap();
    Heap(const Heap&) = delete;

    // New memory filled with 0xFF and marked unwritten, or 0 when there is no room. bytes > 0.
    uint64_t allocate(uint64_t bytes, int device, const char* label);

    // False when the address is not the base of a live allocation.
    bool release(uint64_t base);

    // The allocation, live or freed, that owns the page of this address; null for any other address. Safe to call from all threads.
    const Allocation* find(uint64_t address) const {
        uint64_t page = (address - start_) >> 12;
        return page < pages_ && owner_[page] ? by_id_[owner_[page]] : nullptr;
    }

    // Shadow of the 4 bytes that hold the address, which must be inside the reserved range.
    Shadow* shadow(uint64_t address) const { return shadow_ + ((address - start_) >> 2); }

    // Marks bytes as written by a host operation (copy, memset).
    void mark_written(uint64_t address, uint64_t bytes, uint32_t operation);

    // First byte of the range that holds no value, or address + bytes.
    uint64_t first_unwritten(uint64_t address, uint64_t bytes) const;

    // One line for reports: which allocation, how large, how far inside or outside; "host memory or no address at all" for the rest.
    std::string describe(uint64_t address) const;

    // The allocation with this id, live or freed; null for any other number.
    const Allocation* by_id(uint32_t id) const { return id && id <= allocations_ ? by_id_[id] : nullptr; }

    uint64_t live_bytes(int device) const;
    uint64_t live_allocations(int device) const;

private:
    uint64_t start_ = 0, pages_ = 0, next_page_ = 0;
    uint32_t* owner_ = nullptr;     // per page: allocation id, 0 for none
    Shadow* shadow_ = nullptr;
    Allocation** by_id_ = nullptr;  // reserved array, so that readers need no lock
    uint32_t allocations_ = 0;
    uint64_t live_bytes_[devices] = {}, live_allocations_[devices] = {};
    mutable std::mutex mutex_;
};

}  // namespace kf
