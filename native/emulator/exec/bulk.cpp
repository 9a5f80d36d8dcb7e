// bulk.cpp - copies of the copy engine: contiguous bytes and tiles of tensors from global to shared memory, counted by an mbarrier.
//
// A copy is checked and its destination poisoned when it is issued. It is made when somebody waits for its barrier in vain, or in a random order of warps at any time.
// Its bytes can be read once the phase that counted them has ended, by those who waited for it.
#include <algorithm>
#include <utility>

#include "../tensor_map.h"
#include "builder.h"
#include "memory.h"

namespace kf {
namespace {

constexpr int poison = 0xFF, misaligned_address = 716, launch_failed = 719;

// Reports of what happens now name the instruction that started it.
class BackAt {
public:
    BackAt(Warp& w, uint32_t pc) : warp_(w), pc_(std::exchange(w.pc, pc + 1)) {}
    ~BackAt() { warp_.pc = pc_; }
    BackAt(const BackAt&) = delete;

private:
    Warp& warp_;
    uint32_t pc_;
};

// Each word of the destination once: values and the zeros behind them may meet within one.
template <class F> void each_word(const BulkCopy& copy, F&& f) {
    uint32_t at = 0;
    for (const BulkCopy::Row& row : copy.rows)
        for (at = std::max(at, row.destination & ~3u); at < row.destination + row.bytes; at += 4) f(swizzled(at, copy.swizzle_bits));
}

void issue(Warp& w, int lane, BulkCopy copy) {
    Block& block = *w.block;
    copy.warp = w.index, copy.lane = static_cast<uint8_t>(lane), copy.pc = w.here();
    memory_barrier(w, lane, copy.barrier);
    each_word(copy, [&](uint32_t offset) {
        claim_for_copy(w, lane, offset);
        std::memset(block.shared + offset, poison, 4);
    });
    if (block.launch.counting)
        for (const BulkCopy::Row& row : copy.rows) block.tally.memory.shared_bytes_written += row.bytes;
    block.bulk_copies.push_back(std::move(copy));
    block.progressed();
}

// One byte or word of a row; whether it holds a value goes with it.
void land_bytes(Block& block, const BulkCopy::Row& row, uint32_t at, uint32_t to, uint32_t bytes) {
    if (row.source) std::memcpy(block.shared + to, reinterpret_cast<const char*>(row.source) + at, bytes);
    else std::memset(block.shared + to, 0, bytes);
    if (!block.launch.settings.checks) return;
    uint64_t from = row.source + at;
    uint32_t mask = (1u << bytes) - 1, written = row.source ? block.launch.heap.shadow(from)->written >> (from & 3) & mask : mask;
    SharedWord& word = block.words[to / 4];
    word.written = (word.written & ~(mask << (to & 3)) & 15) | (written << (to & 3));
}

void land_row(Block& block, const BulkCopy& copy, const BulkCopy::Row& row) {
    Warp& w = block.warps[copy.warp];
    if (row.source) read_for_copy(w, copy.lane, row.source, row.bytes);
    bool whole_words = (row.source | row.destination | row.bytes) % 4 == 0;
    for (uint32_t at = 0, step = whole_words ? 4 : 1; at < row.bytes; at += step) land_bytes(block, row, at, swizzled(row.destination + at, copy.swizzle_bits), step);
}

void land(Block& block, BulkCopy& copy) {
    Warp& w = block.warps[copy.warp];
    BackAt place(w, copy.pc);
    uint32_t bytes = 0;
    for (const BulkCopy::Row& row : copy.rows) {
        land_row(block, copy, row);
        bytes += row.bytes;
    }
    copy.landed = true;
    MemoryBarrier& m = memory_barrier(w, copy.lane, copy.barrier);
    m.transactions -= bytes;
    block.progressed();
    end_phase(block, copy.barrier, m);
}

// Lands one of the copies for which the condition holds; false when there is none.
template <class Condition> bool land_some(Block& block, Condition condition) {
    std::vector<size_t> there;
    for (size_t k = 0; k < block.bulk_copies.size(); ++k)
        if (!block.bulk_copies[k].landed && condition(block.bulk_copies[k])) there.push_back(k);
    if (there.empty()) return false;
    Settings::Order order = block.launch.settings.order;
    size_t which = order == Settings::Order::Fifo ? 0 : order == Settings::Order::Reverse ? there.size() - 1 : block.random() % there.size();
    land(block, block.bulk_copies[there[which]]);
    return true;
}

}  // namespace

void land_awaited(Block& block, uint32_t barrier) {
    auto is_awaited = [=](const BulkCopy& c) { return c.barrier == barrier; };
    if (block.launch.settings.order == Settings::Order::Random) land_some(block, is_awaited);
    else while (land_some(block, is_awaited)) {}
}

void land_any(Block& block) {
    land_some(block, [](const BulkCopy&) { return true; });
}

void show_landed(Block& block, uint32_t barrier, MemoryBarrier& m) {
    size_t engine = block.warps.size();
    bool any = false;
    for (const BulkCopy& copy : block.bulk_copies) {
        if (!copy.landed || copy.barrier != barrier) continue;
        any = true;
        if (block.launch.settings.checks) each_word(copy, [&](uint32_t offset) {
            SharedWord& s = block.words[offset / 4];
            s.pending = 0;
            s.write_stamp[0] = s.write_stamp[1] = block.stamp;
        });
    }
    if (!any) return;
    std::erase_if(block.bulk_copies, [=](const BulkCopy& c) { return c.landed && c.barrier == barrier; });
    m.clock.resize(engine + 1);
    m.clock[engine] = ++block.stamp;
}

void check_copies_ended(Block& block) {
    if (block.bulk_copies.empty()) return;
    const BulkCopy& copy = block.bulk_copies.front();
    Warp& w = block.warps[copy.warp];
    BackAt place(w, copy.pc);
    block.fail(w, copy.lane, launch_failed, "the block ends before the phase of the mbarrier at shared offset " + std::to_string(copy.barrier) + " that counts this copy");
}

namespace {

// a: shared destination, b: global source, c: bytes, more: mbarrier.
void copy_bytes(Warp& w, const Instruction& i) {
    each(w.active, [&](int l) {
        uint32_t to = w.in<uint32_t>(i.a)[l] + static_cast<uint32_t>(i.immediate), bytes = w.in<uint32_t>(i.c)[l];
        uint64_t from = w.in<uint64_t>(i.b)[l];
        if (bytes % 16 || to % 16 || from % 16) w.block->fail(w, l, misaligned_address, "bulk copy of " + std::to_string(bytes) + " bytes: size and addresses must be multiples of 16");
        BulkCopy copy{.barrier = w.in<uint32_t>(i.more[0])[l]};
        if (bytes) copy.rows.push_back({from, to, bytes});
        issue(w, l, std::move(copy));
    });
}

// The map at operand b of one lane: in the parameters, or in global memory.
TensorMap read_map(Warp& w, const Instruction& i, int lane) {
    uint64_t address = w.in<uint64_t>(i.b)[lane];
    if (address % 64) w.block->fail(w, lane, misaligned_address, "tensor map at a multiple of " + std::to_string(address & (0 - address)) + " bytes, expected 64");
    TensorMap map;
    Instruction step = i;
    step.a = i.b;
    Mask whole = std::exchange(w.active, 1u << lane);
    for (size_t at = 0; at < sizeof map; at += 16) {
        step.immediate = static_cast<int64_t>(at);
        Pointers p{};
        locate(w, step, Window::Generic, {.bytes = 16, .reads = true}, p);
        std::memcpy(reinterpret_cast<char*>(&map) + at, p.at[lane], 16);
    }
    w.active = whole;
    if (map.mark != TensorMap::current_mark) w.block->fail(w, lane, launch_failed, "what should be a tensor map was not made by cuTensorMapEncodeTiled");
    return map;
}

// Elements [first, last) of the row at these coordinates: none where another coordinate is outside of the tensor.
void add_row(BulkCopy& copy, const TensorMap& map, const int64_t (&at)[5], uint32_t destination) {
    auto clamp = [&](int64_t x) { return static_cast<uint32_t>(std::clamp<int64_t>(x, 0, map.box[0])); };
    uint32_t first = clamp(-at[0]), last = clamp(static_cast<int64_t>(map.size[0]) - at[0]), bytes = map.element_bytes;
    uint64_t source = map.address;
    for (uint32_t k = 1; k < map.rank; ++k) {
        if (at[k] < 0 || at[k] >= static_cast<int64_t>(map.size[k])) last = first;
        source += static_cast<uint64_t>(at[k]) * map.stride[k];
    }
    if (last <= first) first = last = map.box[0];
    auto add = [&](uint64_t from, uint32_t begin, uint32_t end) {
        if (begin < end) copy.rows.push_back({from, destination + begin * bytes, (end - begin) * bytes});
    };
    add(0, 0, first);
    add(source + static_cast<uint64_t>(at[0] + first) * bytes, first, last);
    add(0, last, map.box[0]);
}

// a: shared destination, b: tensor map, c: mbarrier, more: coordinates, flags of them.
void copy_tile(Warp& w, const Instruction& i) {
    each(w.active, [&](int l) {
        TensorMap map = read_map(w, i, l);
        uint32_t to = w.in<uint32_t>(i.a)[l] + static_cast<uint32_t>(i.immediate), row_bytes = static_cast<uint32_t>(map.box[0]) * map.element_bytes;
        if (map.rank != i.flags) w.block->fail(w, l, launch_failed, "copy of a tile with " + std::to_string(i.flags) + " coordinates, the tensor map has " + std::to_string(map.rank));
        if (to % 128) w.block->fail(w, l, misaligned_address, "copy of a tile to shared offset " + std::to_string(to) + ", expected a multiple of 128");
        BulkCopy copy{.barrier = w.in<uint32_t>(i.c)[l], .swizzle_bits = map.swizzle_bits};
        int64_t origin[5] = {};
        for (uint32_t k = 0; k < i.flags; ++k) origin[k] = w.in<int32_t>(i.more[k])[l];
        for (uint32_t row = 0; row < map.box_bytes() / row_bytes; ++row) {
            int64_t at[5] = {origin[0]};
            for (uint32_t k = 1, rest = row; k < 5; rest /= map.box[k], ++k) at[k] = origin[k] + rest % map.box[k];
            add_row(copy, map, at, to + row * row_bytes);
        }
        issue(w, l, std::move(copy));
    });
}

// A 32- or 64-bit address in a register alone.
uint32_t plain_address(Builder& b, size_t k, bool narrow) {
    b.address(k, narrow);
    if (b.i.immediate) b.fail("expected a register alone as address " + std::to_string(k) + " of '" + b.statement().text() + "'");
    return b.i.a;
}

void decode_tile(Builder& b) {
    int rank = b.choose({"1d", "2d", "3d", "4d", "5d"}) + 1;
    if (rank == 0 || b.choose({"shared::cluster", "shared::cta"}) < 0 || !b.take("global") || !b.take("mbarrier::complete_tx::bytes")) b.unknown();
    b.take("tile");
    b.drop_hints();
    const auto& coordinates = b.operand(1).elements;
    if (coordinates.size() != static_cast<size_t>(rank)) b.fail("'" + b.statement().text() + "' with " + std::to_string(coordinates.size()) + " coordinates, expected " + std::to_string(rank));
    for (const ptx::Operand& o : coordinates) b.more(b.use(o, Type::S32));
    b.i.b = plain_address(b, 1, false);
    b.i.c = plain_address(b, 2, true);
    b.address(0, true);
    b.i.flags = static_cast<uint32_t>(rank);
    b.emit(copy_tile);
}

}  // namespace

void decode_bulk(Builder& b) {
    if (b.take("tensor")) return decode_tile(b);
    if (b.choose({"shared::cluster", "shared::cta"}) < 0 || !b.take("global") || !b.take("mbarrier::complete_tx::bytes")) b.unknown();
    b.drop_hints();
    b.i.b = plain_address(b, 1, false);
    b.more(plain_address(b, 3, true));
    b.address(0, true);
    b.i.c = b.use(2, Type::U32);
    b.emit(copy_bytes);
}

}  // namespace kf
