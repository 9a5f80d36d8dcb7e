// heap.cpp - device memory in one reserved range: addresses are handed out upwards and never come back.
#include "heap.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "text.h"

namespace kf {
namespace {

constexpr uint64_t page_bytes = 4096;
constexpr uint64_t gap_pages = 64;                       // nobody's pages between two allocations: 256 KiB
constexpr uint64_t largest_range = uint64_t(256) << 30, smallest_range = uint64_t(1) << 30;
constexpr uint64_t most_allocations = uint64_t(1) << 24;

// Address space that costs nothing until it is touched; null where the system refuses.
void* reserve(uint64_t bytes, int protection) {
    void* p = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? nullptr : p;
}

uint64_t pages_of(uint64_t bytes) { return (bytes + page_bytes - 1) / page_bytes; }

// The bits of Shadow::written for bytes [first, last) of a word.
uint32_t byte_mask(uint64_t first, uint64_t last) { return ((1u << (last - first)) - 1) << first; }

}  // namespace

Heap::Heap() {
    uint64_t bytes = largest_range;
    for (; bytes >= smallest_range; bytes /= 2) {
        void* data = reserve(bytes, PROT_NONE);
        void* shadow = reserve(bytes / 4 * sizeof(Shadow), PROT_READ | PROT_WRITE);
        if (data && shadow) {
            start_ = reinterpret_cast<uint64_t>(data);
            shadow_ = static_cast<Shadow*>(shadow);
            break;
        }
        if (data) munmap(data, bytes);
        if (shadow) munmap(shadow, bytes / 4 * sizeof(Shadow));
    }
    pages_ = bytes / page_bytes;
    owner_ = static_cast<uint32_t*>(reserve(pages_ * sizeof(uint32_t), PROT_READ | PROT_WRITE));
    by_id_ = static_cast<Allocation**>(reserve(most_allocations * sizeof(Allocation*), PROT_READ | PROT_WRITE));
    if (!shadow_ || !owner_ || !by_id_) throw std::runtime_error("the emulator needs 4 GiB of address space for device memory; the system refused");
    next_page_ = gap_pages;
}

Heap::~Heap() {
    for (uint32_t id = 1; id <= allocations_; id++) delete by_id_[id];
    munmap(reinterpret_cast<void*>(start_), pages_ * page_bytes);
    munmap(shadow_, pages_ * page_bytes / 4 * sizeof(Shadow));
    munmap(owner_, pages_ * sizeof(uint32_t));
    munmap(by_id_, most_allocations * sizeof(Allocation*));
}

uint64_t Heap::allocate(uint64_t bytes, int device, const char* label) {
    std::lock_guard lock(mutex_);
    if (bytes == 0 || bytes > device_bytes || live_bytes_[device] + bytes > device_bytes) return 0;
    uint64_t first = next_page_, pages = pages_of(bytes);
    if (first + pages + gap_pages > pages_ || allocations_ + 1 >= most_allocations) return 0;
    uint64_t base = start_ + first * page_bytes;
    auto* data = reinterpret_cast<void*>(base);
    if (mprotect(data, pages * page_bytes, PROT_READ | PROT_WRITE) != 0) return 0;
    std::memset(data, 0xFF, pages * page_bytes);

    uint32_t id = ++allocations_;
    by_id_[id] = new Allocation{base, bytes, device, id, false, label};
    std::fill_n(owner_ + first, pages, id);
    next_page_ = first + pages + gap_pages;
    live_bytes_[device] += bytes;
    live_allocations_[device]++;
    return base;
}

bool Heap::release(uint64_t base) {
    std::lock_guard lock(mutex_);
    Allocation* allocation = const_cast<Allocation*>(find(base));
    if (!allocation || allocation->freed || allocation->base != base) return false;
    uint64_t bytes = pages_of(allocation->bytes) * page_bytes;
    mprotect(reinterpret_cast<void*>(base), bytes, PROT_NONE);
    madvise(reinterpret_cast<void*>(base), bytes, MADV_DONTNEED);
    madvise(shadow(base), bytes / 4 * sizeof(Shadow), MADV_DONTNEED);
    allocation->freed = true;
    live_bytes_[allocation->device] -= allocation->bytes;
    live_allocations_[allocation->device]--;
    return true;
}

void Heap::mark_written(uint64_t address, uint64_t bytes, uint32_t operation) {
    uint64_t end = address + bytes;
    while (address < end) {
        uint64_t word = address & ~uint64_t(3), stop = std::min(end, word + 4);
        Shadow& s = *shadow(word);
        s.operation = operation;
        s.block = 0;
        s.written |= byte_mask(address - word, stop - word);
        address = stop;
    }
}

uint64_t Heap::first_unwritten(uint64_t address, uint64_t bytes) const {
    uint64_t end = address + bytes;
    while (address < end) {
        uint64_t word = address & ~uint64_t(3), stop = std::min(end, word + 4);
        uint32_t missing = byte_mask(address - word, stop - word) & ~uint32_t(shadow(word)->written);
        if (missing) return word + __builtin_ctz(missing);
        address = stop;
    }
    return end;
}

std::string Heap::describe(uint64_t address) const {
    std::lock_guard lock(mutex_);
    auto place = [address](const char* relation, uint64_t distance, const Allocation& a) {
        return text("0x%lx: %lu %s %s #%u of %lu bytes on device %d%s", address, distance, relation, a.label.c_str(), a.id, a.bytes, a.device, a.freed ? ", freed" : "");
    };
    if (address - start_ >= pages_ * page_bytes || allocations_ == 0)
        return text("0x%lx: host memory or no address at all", address);

    // Bases rise with the ids, so the neighbours are found by halving.
    uint32_t above = 1, end = allocations_ + 1;
    while (above < end) {
        uint32_t middle = (above + end) / 2;
        if (by_id_[middle]->base <= address) above = middle + 1; else end = middle;
    }
    const Allocation* before = above > 1 ? by_id_[above - 1] : nullptr;
    const Allocation* after = above <= allocations_ ? by_id_[above] : nullptr;
    if (before && address < before->base + before->bytes) return place("bytes into", address - before->base, *before);
    uint64_t past = before ? address - (before->base + before->bytes) : ~uint64_t(0);
    if (after && after->base - address <= past) return place("bytes before", after->base - address, *after);
    return place("bytes past the end of", past, *before);
}

uint64_t Heap::live_bytes(int device) const {
    std::lock_guard lock(mutex_);
    return live_bytes_[device];
}

uint64_t Heap::live_allocations(int device) const {
    std::lock_guard lock(mutex_);
    return live_allocations_[device];
}

}  // namespace kf
