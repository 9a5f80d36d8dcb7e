// warpgroup.cpp - what four warps do together: wgmma and setmaxnreg.
//
// A product is computed as late as the program allows: it is checked and queued when it is issued, its operands in shared memory are read when the warp waits for its
// group (in a random order of warps sometimes at the commit). Until then its sums are nowhere: a shadow of the registers says which element of which product a
// register stands for. Moves carry that along, as the compiler puts some between wgmma and its wait; any other use is reported.
// Each warp computes its own 16 rows, so the four never wait for each other; that they do the same is checked.
#include <algorithm>
#include <deque>
#include <utility>

#include "../mma_model.h"
#include "../tensor_map.h"
#include "builder.h"
#include "memory.h"
#include "numbers.h"

namespace kf {
namespace {

constexpr int launch_failed = 719, rows = 16, depth = 16;

using Sums = std::shared_ptr<std::vector<float>>;  // [column][row]

struct Product {
    MmaType type;
    uint32_t columns, group, issued, pc;
    bool a_in_registers, a_transposed, b_transposed, computed = false;
    uint64_t a, b;                     // descriptors
    uint16_t a_values[rows * depth];   // when in registers
    Sums from, sums;                   // from: the addend where it is the result of another product; null when sums holds it
};

}  // namespace

struct Products {
    std::deque<Product> open;
    uint32_t first = 0;                // number of the first open one
    uint32_t group = 0;                // of the products that are not committed
    bool fenced = false;               // by wgmma.fence since the last wait
    std::vector<uint32_t> tags;        // per 32-bit register and lane: 1 + 128 * product + register of its sums, or 0
    std::vector<uint32_t> tagged;      // slots that may have tags
    std::vector<uint32_t> a_until;     // by register number: 1 + the last product that takes it as A

    uint32_t* tags_of(uint32_t slot) { return &tags[slot / 4]; }
};

namespace {

Products& products(Warp& w) {
    if (!w.products) {
        w.products = std::make_shared<Products>();
        w.products->tags.resize(w.code->register_bytes / 4);
        w.products->a_until.resize(w.code->register_count);
    }
    return *w.products;
}

// The warp goes through an instruction of its warpgroup; the first warp to come says what the others have to do.
void keep_step(Warp& w, const WarpgroupStep& step) {
    Block& block = *w.block;
    if ((w.index | 3) >= block.warps.size()) block.fail(w, 0, launch_failed, "warp " + std::to_string(w.index) + " is in no warpgroup: those are four warps from a multiple of four on");
    auto& steps = block.warpgroups[w.index / 4];
    if (w.warpgroup_step == steps.size()) steps.push_back(step);
    const WarpgroupStep& first = steps[w.warpgroup_step++];
    if (first != step)
        block.fail(w, 0, launch_failed, "the warps of a warpgroup part: another one has been at " + block.launch.module.place(block.launch.code.places[first.pc])
                   + (first.pc == step.pc ? ", with other operands" : ""));
}

bool meet_all(Warp& w) {
    if (!w.meet(all_lanes)) return false;
    if (w.active != all_lanes) w.block->fail(w, __builtin_ctz(w.active), launch_failed, "an instruction of a warpgroup with lanes that have exited");
    return true;
}

uint64_t uniform(Warp& w, uint32_t operand, const char* what) {
    const uint64_t* values = w.in<uint64_t>(operand);
    for (int l = 1; l < 32; ++l)
        if (values[l] != values[0]) w.block->fail(w, l, launch_failed, std::string(what) + " differs between lanes");
    return values[0];
}

// ---- operands in shared memory

struct Descriptor {
    uint32_t address, leading, stride, swizzle_bits;

    explicit Descriptor(uint64_t d)
        : address(static_cast<uint32_t>(d & 0x3fff) << 4), leading(static_cast<uint32_t>(d >> 16 & 0x3fff) << 4), stride(static_cast<uint32_t>(d >> 32 & 0x3fff) << 4),
          swizzle_bits(static_cast<uint32_t>(4 - (d >> 62)) & 3) {}
};

// Calls f(offset in shared memory, row, k) for each 16 bytes of an operand, rows being those of A or the columns of B: eight k of a row, or eight rows at one k when transposed.
template <class F> void each_vector(uint64_t descriptor, bool transposed, uint32_t first_row, uint32_t count, F&& f) {
    Descriptor d(descriptor);
    uint32_t span = 16u << d.swizzle_bits, vectors = 1u << d.swizzle_bits;  // bytes of a row of the pattern, and vectors in it
    for (uint32_t r = first_row; r < first_row + count; r += transposed ? 8 : 1)
        for (uint32_t k = 0; k < depth; k += transposed ? 1 : 8) {
            uint32_t at = d.address;
            if (!transposed) at += r / 8 * d.stride + r % 8 * span + (d.swizzle_bits ? 2 * k : k / 8 * d.leading);
            else if (d.swizzle_bits) at += r / 8 / vectors * d.leading + k / 8 * d.stride + k % 8 * span + r / 8 % vectors * 16;
            else at += r / 8 * d.stride + k / 8 * d.leading + k % 8 * 16;
            f(swizzled(at, d.swizzle_bits), r - first_row, k);
        }
}

template <class F> void each_operand_vector(const Warp& w, const Product& p, F&& f) {
    if (!p.a_in_registers) each_vector(p.a, p.a_transposed, w.index % 4 * rows, rows, f);
    each_vector(p.b, p.b_transposed, 0, p.columns, f);
}

void read_operand(const Warp& w, uint64_t descriptor, bool transposed, uint32_t first_row, uint32_t count, uint16_t* to) {
    each_vector(descriptor, transposed, first_row, count, [&](uint32_t offset, uint32_t row, uint32_t k) {
        if (!transposed) {
            std::memcpy(to + row * depth + k, w.block->shared + offset, 16);
            return;
        }
        uint16_t values[8];
        std::memcpy(values, w.block->shared + offset, 16);
        for (uint32_t e = 0; e < 8; ++e) to[(row + e) * depth + k] = values[e];
    });
}

void compute(Warp& w, Product& p) {
    alignas(64) uint16_t b[256 * depth];
    if (p.computed) return;
    p.computed = true;
    if (p.from) *p.sums = *p.from;
    p.from = nullptr;
    if (!p.a_in_registers) read_operand(w, p.a, p.a_transposed, w.index % 4 * rows, rows, p.a_values);
    read_operand(w, p.b, p.b_transposed, 0, p.columns, b);
    mma_m16k16(p.type, w.block->launch.request.architecture, p.a_values, b, static_cast<int>(p.columns), p.sums->data());
}

void compute_all(Warp& w) {
    for (Product& p : w.products->open) compute(w, p);
}

// ---- registers: element (row, column) of register r in a lane, as of mma_m16n8k16 for each eight columns

uint32_t element_of(uint32_t r, int lane) {
    uint32_t row = static_cast<uint32_t>(lane) / 4 + r / 2 % 2 * 8, column = r / 4 * 8 + static_cast<uint32_t>(lane) % 4 * 2 + r % 2;
    return column * rows + row;
}

uint32_t tag_of(uint32_t product, uint32_t r) { return 1 + product * 128 + r; }

float value_of(const Products& all, uint32_t tag, int lane) { return (*all.open[(tag - 1) / 128 - all.first].sums)[element_of((tag - 1) % 128, lane)]; }

// The registers of the sums, whose values lie in the result of the product before; false when they are mixed.
bool continues(Products& all, const uint32_t* registers, uint32_t count) {
    if (all.open.empty() || all.open.back().columns != 2 * count) return false;
    uint32_t last = all.first + static_cast<uint32_t>(all.open.size()) - 1;
    for (uint32_t back = 0; back < all.open.size(); ++back, --last) {
        if (all.tags_of(registers[0])[0] != tag_of(last, 0)) continue;
        for (uint32_t r = 0; r < count; ++r)
            for (int l = 0; l < 32; ++l)
                if (all.tags_of(registers[r])[l] != tag_of(last, r)) return false;
        return true;
    }
    return false;
}

// Where the addend comes from: another product, or the registers.
void take_sums(Warp& w, Product& p, const uint32_t* registers, bool adds) {
    Products& all = *w.products;
    uint32_t count = p.columns / 2;
    p.sums = std::make_shared<std::vector<float>>(p.columns * rows);
    if (!adds) return;
    if (continues(all, registers, count)) {
        p.from = all.open[(all.tags_of(registers[0])[0] - 1) / 128 - all.first].sums;
        return;
    }
    for (uint32_t r = 0; r < count; ++r) {
        const uint32_t* tags = all.tags_of(registers[r]);
        const float* values = w.in<float>(registers[r]);
        for (int l = 0; l < 32; ++l) {
            if (tags[l]) w.block->fail(w, l, launch_failed, "a product adds to sums of which only a part comes from one that is not waited for");
            (*p.sums)[element_of(r, l)] = values[l];
        }
    }
}

void tag_sums(Warp& w, const uint32_t* registers, uint32_t count) {
    Products& all = *w.products;
    uint32_t number = all.first + static_cast<uint32_t>(all.open.size()) - 1;
    for (uint32_t r = 0; r < count; ++r) {
        std::fill_n(all.tags_of(registers[r]), 32, tag_of(number, r));
        std::fill_n(w.out<uint32_t>(registers[r]), 32, canonical_nan);
        all.tagged.push_back(registers[r]);
    }
}

void take_a(Warp& w, Product& p, const uint32_t* registers) {
    Products& all = *w.products;
    for (uint32_t half = 0; half < 4; ++half) {
        const uint32_t* source = w.in<uint32_t>(registers[half]);
        for (int l = 0; l < 32; ++l) {
            if (!(registers[half] & 1) && all.tags_of(registers[half])[l]) w.block->fail(w, l, launch_failed, "operand A is the sum of a product that is not waited for");
            std::memcpy(&p.a_values[(l / 4 + static_cast<int>(half % 2) * 8) * depth + static_cast<int>(half / 2) * 8 + 2 * (l % 4)], &source[l], 4);
        }
    }
    uint32_t number = all.first + static_cast<uint32_t>(all.open.size());
    const Code& code = *w.code;
    for (uint32_t k = code.first_touch[w.here()]; k < code.first_touch[w.here() + 1]; ++k) {
        const Touch& t = code.touches[k];
        for (uint32_t half = 0; half < 4; ++half)
            if (!t.writes && t.slot == registers[half]) all.a_until[t.register_number] = number + 1;
    }
}

// Results of the products before this number go to the registers that stand for them.
void hand_out(Warp& w, uint32_t end) {
    Products& all = *w.products;
    std::erase_if(all.tagged, [&](uint32_t slot) {
        uint32_t* tags = all.tags_of(slot);
        float* values = w.out<float>(slot);
        bool any = false;
        for (int l = 0; l < 32; ++l) {
            if (tags[l] && (tags[l] - 1) / 128 < end) values[l] = value_of(all, tags[l], l), tags[l] = 0;
            any |= tags[l] != 0;
        }
        return !any;
    });
}

// ---- instructions. flags of a product: columns, then these

constexpr uint32_t bf16_flag = 1 << 9, registers_flag = 1 << 10, a_transposed_flag = 1 << 11, b_transposed_flag = 1 << 12, negated_flag = 1 << 13;

// a, b: descriptors; c: the predicate that says whether the sums are added to; more: the sums, then A where it is in registers.
void multiply(Warp& w, const Instruction& i) {
    if (!meet_all(w)) return;
    Block& block = *w.block;
    Products& all = products(w);
    Mask adds = i.c == none ? all_lanes : w.predicate(i.c) ^ (i.flags & negated_flag ? ~0u : 0);
    if (adds != 0 && adds != all_lanes) block.fail(w, __builtin_ctz(adds), launch_failed, "whether a product adds to its sums differs between lanes");
    Product p{};
    p.type = i.flags & bf16_flag ? MmaType::BF16 : MmaType::F16;
    p.columns = i.flags & 0x1ff, p.group = all.group, p.pc = w.here(), p.issued = ++block.stamp;
    p.a_in_registers = i.flags & registers_flag, p.a_transposed = i.flags & a_transposed_flag, p.b_transposed = i.flags & b_transposed_flag;
    p.b = uniform(w, i.b, "the descriptor of B");
    if (!p.a_in_registers) p.a = uniform(w, i.a, "the descriptor of A");
    keep_step(w, {p.pc, {p.a, p.b, adds}});
    if ((p.a | p.b) >> 49 & 7) block.fail(w, 0, launch_failed, "a descriptor with a base offset, which the emulator does not have");
    if (!all.fenced) block.fail(w, 0, launch_failed, "missing wgmma.fence between the last wait and this wgmma");
    if (p.a_in_registers) take_a(w, p, i.more + p.columns / 2);
    take_sums(w, p, i.more, adds);
    each_operand_vector(w, p, [&](uint32_t offset, uint32_t, uint32_t) { begin_product_read(w, offset); });
    if (block.launch.counting) block.tally.memory.shared_bytes_read += (p.a_in_registers ? 0 : rows * depth * 2) + p.columns * depth * 2 / 4;
    uint32_t count = p.columns / 2;
    all.open.push_back(std::move(p));
    tag_sums(w, i.more, count);
    w.watched = true;
}

void fence(Warp& w, const Instruction&) {
    if (meet_all(w)) products(w).fenced = true;
}

void commit(Warp& w, const Instruction&) {
    if (!meet_all(w)) return;
    ++products(w).group;
    if (w.block->launch.settings.order == Settings::Order::Random && w.block->random() % 4 == 0) compute_all(w);
}

// immediate: groups that may stay open.
void wait(Warp& w, const Instruction& i) {
    if (!meet_all(w)) return;
    Products& all = products(w);
    all.fenced = false;
    uint32_t done = 0;
    while (done < all.open.size() && all.open[done].group + static_cast<uint32_t>(i.immediate) < all.group) ++done;
    if (done == 0) return;
    ++w.block->stamp;
    for (uint32_t k = 0; k < done; ++k) {
        Product& p = all.open[k];
        uint32_t pc = std::exchange(w.pc, p.pc + 1);  // reports name the product
        each_operand_vector(w, p, [&](uint32_t offset, uint32_t, uint32_t) { end_product_read(w, offset, p.issued); });
        w.pc = pc;
        compute(w, p);
    }
    hand_out(w, all.first + done);
    all.open.erase(all.open.begin(), all.open.begin() + done);
    all.first += done;
    w.watched = !all.open.empty();
}

void decode_multiply(Builder& b) {
    if (!b.take("sync") || !b.take("aligned")) b.unknown();
    uint32_t columns = 0;
    for (uint32_t n = 8; n <= 256; n += 8)
        if (b.take("m64n" + std::to_string(n) + "k16")) columns = n;
    Type d = b.type(), a = b.type(), second = b.type();
    if (!columns || d != Type::F32 || a != second || (a != Type::F16 && a != Type::BF16)) b.unknown();
    auto sums = b.elements(0);
    if (sums.size() != columns / 2) b.fail("sums of '" + b.statement().text() + "': " + std::to_string(sums.size()) + " registers, expected " + std::to_string(columns / 2));
    for (const ptx::Operand* o : sums) b.more(b.use(*o, Type::F32)), b.def(*o, Type::F32);
    bool registers = b.operand(1).kind == ptx::Operand::Kind::Vector;
    b.i.flags = columns | (a == Type::BF16 ? bf16_flag : 0) | (registers ? registers_flag : 0);
    if (registers) {
        if (b.elements(1).size() != 4) b.fail("operand A of '" + b.statement().text() + "': " + std::to_string(b.elements(1).size()) + " registers, expected 4");
        for (const ptx::Operand* o : b.elements(1)) b.more(b.use(*o, Type::B32));
    } else b.i.a = b.use(1, Type::B64);
    b.i.b = b.use(2, Type::B64);
    const ptx::Operand& adds = b.operand(3);
    if (adds.kind == ptx::Operand::Kind::Immediate) b.i.c = b.unit().constant(32, adds.bits ? ~0ull : 0);
    else b.i.c = b.use_predicate(adds), b.i.flags |= adds.negated ? negated_flag : 0;
    if (b.immediate(4) != 1 || b.immediate(5) != 1) b.fail("'" + b.statement().text() + "' that negates an operand, expected factors of 1");
    size_t next = 6;
    if (!registers && b.immediate(next++)) b.i.flags |= a_transposed_flag;
    if (b.immediate(next)) b.i.flags |= b_transposed_flag;
    b.kind(ProductClass, columns / 8);
    b.emit(multiply);
}

void decode_wgmma(Builder& b) {
    if (b.take("mma_async")) return decode_multiply(b);
    int form = b.choose({"fence", "commit_group", "wait_group"});
    if (form < 0 || !b.take("sync") || !b.take("aligned")) b.unknown();
    if (form == 2) b.i.immediate = static_cast<int64_t>(b.immediate(0));
    b.emit(form == 0 ? fence : form == 1 ? commit : wait);
}

// immediate: registers of each thread.
void limit_registers(Warp& w, const Instruction& i) {
    if (meet_all(w)) keep_step(w, {w.here(), {static_cast<uint64_t>(i.immediate), 0, 0}});
}

void decode_setmaxnreg(Builder& b) {
    if (b.choose({"inc", "dec"}) < 0 || !b.take("sync") || !b.take("aligned") || b.type() != Type::U32) b.unknown();
    uint64_t registers = b.immediate(0);
    if (registers < 24 || registers > 256 || registers % 8) b.fail("setmaxnreg " + std::to_string(registers) + ", expected a multiple of 8 from 24 to 256");
    b.i.immediate = static_cast<int64_t>(registers);
    b.emit(limit_registers);
}

}  // namespace

void check_product_registers(Warp& w) {
    const Code& code = *w.code;
    const Place& place = code.places[w.here()];
    if (place.kind == ProductClass) return;
    Products& all = *w.products;
    const Instruction& i = code.instructions[w.here()];
    bool moves = place.kind == MoveClass;
    for (uint32_t k = code.first_touch[w.here()]; k < code.first_touch[w.here() + 1]; ++k) {
        const Touch& t = code.touches[k];
        uint32_t* tags = all.tags_of(t.slot);
        if (t.writes && all.a_until[t.register_number] > all.first)
            w.block->fail(w, __builtin_ctz(w.active), launch_failed, "writes a register that a wgmma which is not waited for takes as A");
        if (t.writes && moves && !(i.a & 1)) {
            const uint32_t* from = all.tags_of(i.a);
            bool any = false;
            each(w.active, [&](int l) { tags[l] = from[l], any |= from[l] != 0; });
            if (any) all.tagged.push_back(t.slot);
        } else if (t.writes) each(w.active, [&](int l) { tags[l] = 0; });
        else if (!moves) each(w.active, [&](int l) {
            if (tags[l]) w.block->fail(w, l, launch_failed, "reads a sum of the wgmma at " + w.block->launch.module.place(code.places[all.open[(tags[l] - 1) / 128 - all.first].pc]) + " before the wait for it");
        });
    }
}

void check_warpgroup_ended(Warp& w) {
    const Block& block = *w.block;
    const auto& steps = block.warpgroups[w.index / 4];
    size_t first = w.index / 4 * 4, end = std::min<size_t>(first + 4, block.warps.size());
    for (size_t k = first; k < end; ++k) {
        const Warp& other = block.warps[k];
        if (!other.live && other.warpgroup_step < steps.size())
            block.fail(w, 0, launch_failed, "warp " + std::to_string(k) + " ends without what another one of its warpgroup has done at " + block.launch.module.place(block.launch.code.places[steps[other.warpgroup_step].pc]));
    }
}

const DecoderTable& warpgroup_decoders() {
    static const DecoderTable table{{"wgmma", decode_wgmma}, {"setmaxnreg", decode_setmaxnreg}};
    return table;
}

}  // namespace kf
