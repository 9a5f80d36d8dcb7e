// matrix.cpp - tensor-core instructions: ldmatrix, stmatrix, movmatrix, mma.
#include "../mma_model.h"
#include "builder.h"
#include "memory.h"

namespace kf {
namespace {

// Lane 4r + c holds elements 2c and 2c + 1 of row r of an 8 x 8 matrix of 16-bit elements.
struct Tile { uint16_t at[8][8]; };

uint32_t fragment(const Tile& t, int lane, bool transposed) {
    int r = lane / 4, c = 2 * (lane % 4);
    return transposed ? t.at[c][r] | static_cast<uint32_t>(t.at[c + 1][r]) << 16 : t.at[r][c] | static_cast<uint32_t>(t.at[r][c + 1]) << 16;
}

// Row addresses of matrix k are those of lanes 8k to 8k + 7. flags: matrices in bits 0-2, transposed, generic addresses.
constexpr uint32_t transposed_flag = 8, generic_flag = 16;

char* row(Warp& w, const Instruction& i, int lane, const Access& access, uint32_t* offsets) {
    uint32_t offset = i.flags & generic_flag ? static_cast<uint32_t>(w.in<uint64_t>(i.a)[lane]) : w.in<uint32_t>(i.a)[lane];
    offsets[lane] = offset + static_cast<uint32_t>(i.immediate);
    return locate_shared(w, lane, offsets[lane], access);
}

Mask address_lanes(int matrices) { return matrices == 4 ? all_lanes : (1u << (8 * matrices)) - 1; }

void load_matrix(Warp& w, const Instruction& i) {
    if (!w.meet(all_lanes)) return;
    int matrices = static_cast<int>(i.flags & 7);
    uint32_t offsets[32];
    Access access{.bytes = 16, .reads = true};
    Tile tiles[4];
    for (int k = 0; k < matrices; ++k)
        for (int r = 0; r < 8; ++r) std::memcpy(tiles[k].at[r], row(w, i, 8 * k + r, access, offsets), 16);
    count_shared_rows(w, address_lanes(matrices), offsets, access);
    for (int k = 0; k < matrices; ++k) {
        uint32_t* d = w.out<uint32_t>(i.more[k]);
        for (int l = 0; l < 32; ++l) d[l] = fragment(tiles[k], l, i.flags & transposed_flag);
    }
}

void store_matrix(Warp& w, const Instruction& i) {
    if (!w.meet(all_lanes)) return;
    int matrices = static_cast<int>(i.flags & 7);
    uint32_t offsets[32];
    Access access{.bytes = 16, .writes = true};
    for (int k = 0; k < matrices; ++k) {
        const uint32_t* s = w.in<uint32_t>(i.more[k]);
        Tile t;
        for (int l = 0; l < 32; ++l)
            for (int e = 0; e < 2; ++e) {
                uint16_t value = static_cast<uint16_t>(s[l] >> (16 * e));
                (i.flags & transposed_flag ? t.at[2 * (l % 4) + e][l / 4] : t.at[l / 4][2 * (l % 4) + e]) = value;
            }
        for (int r = 0; r < 8; ++r) std::memcpy(row(w, i, 8 * k + r, access, offsets), t.at[r], 16);
    }
    count_shared_rows(w, address_lanes(matrices), offsets, access);
}

void decode_matrix_access(Builder& b) {
    bool loads = b.name() == "ldmatrix";
    if (!b.take("sync") || !b.take("aligned") || !b.take("m8n8")) b.unknown();
    int count = b.choose({"x1", "x2", "x4"});
    bool transposed = b.take("trans"), shared = b.choose({"shared", "shared::cta"}) >= 0;
    if (count < 0 || b.type() != Type::B16) b.unknown();
    auto registers = b.elements(loads ? 0 : 1);
    for (const ptx::Operand* o : registers) b.more(loads ? b.def(*o, Type::B32) : b.use(*o, Type::B32));
    b.address(loads ? 1 : 0, shared);
    b.i.flags = 1u << count | (transposed ? transposed_flag : 0) | (shared ? 0 : generic_flag);
    b.emit(loads ? load_matrix : store_matrix);
}

void transpose(Warp& w, const Instruction& i) {
    if (!w.meet(all_lanes)) return;
    Tile t;
    const uint32_t* a = w.in<uint32_t>(i.a);
    for (int l = 0; l < 32; ++l) std::memcpy(&t.at[l / 4][2 * (l % 4)], &a[l], 4);
    for (int l = 0; l < 32; ++l) w.out<uint32_t>(i.d)[l] = fragment(t, l, true);
}

void decode_movmatrix(Builder& b) {
    for (std::string_view word : {"sync", "aligned", "m8n8", "trans"})
        if (!b.take(word)) b.unknown();
    b.type();
    b.i.d = b.def(0, Type::B32);
    b.i.a = b.use(1, Type::B32);
    b.emit(transpose);
}

// ---- mma: more holds d (4), a (K / 4), b (K / 8), c (4)

template <int K, MmaType T> void multiply(Warp& w, const Instruction& i) {
    if (!w.meet(all_lanes)) return;
    if (w.active != all_lanes) w.block->fail(w, __builtin_ctz(w.active), 719, "mma with lanes that have exited");
    alignas(64) uint16_t a[16 * K], b[8 * K];
    alignas(64) float c[16 * 8], d[16 * 8];
    const uint32_t *registers = i.more + 4, *sums = i.more + 4 + K / 4 + K / 8;
    for (int k = 0; k < K / 8; ++k)
        for (int half = 0; half < 2; ++half) {
            const uint32_t* source = w.in<uint32_t>(registers[2 * k + half]);
            for (int l = 0; l < 32; ++l) std::memcpy(&a[(l / 4 + 8 * half) * K + 8 * k + 2 * (l % 4)], &source[l], 4);
        }
    for (int k = 0; k < K / 8; ++k) {
        const uint32_t* source = w.in<uint32_t>(registers[K / 4 + k]);
        for (int l = 0; l < 32; ++l) std::memcpy(&b[(l / 4) * K + 8 * k + 2 * (l % 4)], &source[l], 4);
    }
    for (int half = 0; half < 2; ++half) {
        const float *even = w.in<float>(sums[2 * half]), *odd = w.in<float>(sums[2 * half + 1]);
        for (int l = 0; l < 32; ++l) {
            float* to = &c[(l / 4 + 8 * half) * 8 + 2 * (l % 4)];
            to[0] = even[l], to[1] = odd[l];
        }
    }
    const Launch& launch = w.block->launch;
    if constexpr (K == 16) mma_m16n8k16(T, launch.request.architecture, a, b, c, d);
    else mma_m16n8k8(T, launch.request.architecture, a, b, c, d);
    for (int half = 0; half < 2; ++half) {
        float *even = w.out<float>(i.more[2 * half]), *odd = w.out<float>(i.more[2 * half + 1]);
        for (int l = 0; l < 32; ++l) {
            const float* from = &d[(l / 4 + 8 * half) * 8 + 2 * (l % 4)];
            even[l] = from[0], odd[l] = from[1];
        }
    }
}

void decode_mma(Builder& b) {
    if (!b.take("sync") || !b.take("aligned")) b.unknown();
    int shape = b.choose({"m16n8k16", "m16n8k8"});
    if (shape < 0 || !b.take("row") || !b.take("col")) b.unknown();
    Type d = b.type(), a = b.type(), second = b.type(), c = b.type();
    if (d != Type::F32 || c != Type::F32 || a != second || (a != Type::F16 && a != Type::BF16)) b.unknown();
    size_t depth = shape == 0 ? 16 : 8, expected[] = {4, depth / 4, depth / 8, 4};
    for (size_t k = 0; k < 4; ++k) {
        auto registers = b.elements(k);
        if (registers.size() != expected[k]) b.fail("operands of '" + b.statement().text() + "': number " + std::to_string(k) + " has " + std::to_string(registers.size()) + " registers, expected " + std::to_string(expected[k]));
        for (const ptx::Operand* o : registers) b.more(k == 0 ? b.def(*o, Type::F32) : b.use(*o, Type::B32));
    }
    b.kind(MmaClass, 1);
    if (shape == 0) b.emit(a == Type::F16 ? multiply<16, MmaType::F16> : multiply<16, MmaType::BF16>);
    else b.emit(a == Type::F16 ? multiply<8, MmaType::F16> : multiply<8, MmaType::BF16>);
}

}  // namespace

const DecoderTable& matrix_decoders() {
    static const DecoderTable table{{"ldmatrix", decode_matrix_access}, {"stmatrix", decode_matrix_access}, {"movmatrix", decode_movmatrix}, {"mma", decode_mma}};
    return table;
}

}  // namespace kf
