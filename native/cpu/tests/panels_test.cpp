// panels_test.cpp - the library against scalar code, bit for bit: every kind of codes, group, tile of rows and number of panels.
#include "../kernelforge_cpu.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

namespace {

constexpr int TILE = 128, PANEL = 16, STRIDE = TILE + 3; // of sums: more than the panels need
constexpr float UNWRITTEN = 12345.0f;

int failures = 0;

// Memory at a multiple of 64 bytes.
template <class T> struct Aligned {
    std::vector<uint8_t> bytes;
    T* data;
    explicit Aligned(size_t count) : bytes(count * sizeof(T) + 64), data((T*)(((uintptr_t)bytes.data() + 63) / 64 * 64)) {}
};

int tile_rows(int left) { return left >= 4 ? 4 : left >= 2 ? 2 : 1; }

float bf16(uint32_t bits) {
    bits <<= 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

void expect(const char* what, const std::vector<float>& sums, int row, int output, float wanted) {
    float came = sums[(size_t)row * STRIDE + output];
    if (memcmp(&came, &wanted, sizeof came) == 0) return;
    if (failures++ < 10) printf("%s: row %d, output %d: expected %a, came %a\n", what, row, output, wanted, came);
}

void test_bf16(std::mt19937& random, int rows, int panels, int k) {
    int words = (k + 1) / 2, row_words = words + 5; // a packed row may be longer
    std::vector<uint32_t> x((size_t)rows * words * 2), w((size_t)panels * PANEL * words * 2);
    auto number = [&] { return (random() & 0x8000) | ((120 + random() % 12) << 7) | (random() & 127); };
    for (int row = 0; row < rows; row++)
        for (int i = 0; i < k; i++) x[(size_t)row * words * 2 + i] = number();
    for (int output = 0; output < panels * PANEL; output++)
        for (int i = 0; i < k; i++) w[(size_t)output * words * 2 + i] = number();
    Aligned<uint32_t> packed((size_t)rows * row_words), lines((size_t)panels * words * PANEL);
    auto pair = [&](const std::vector<uint32_t>& values, int row, int word) {
        return values[((size_t)row * words + word) * 2] | values[((size_t)row * words + word) * 2 + 1] << 16;
    };
    for (int row = 0; row < rows;) {
        int tile = tile_rows(rows - row);
        for (int word = 0; word < words; word++)
            for (int r = 0; r < tile; r++) packed.data[(size_t)row * row_words + word * tile + r] = pair(x, row + r, word);
        row += tile;
    }
    for (int output = 0; output < panels * PANEL; output++)
        for (int word = 0; word < words; word++) lines.data[((size_t)(output / PANEL) * words + word) * PANEL + output % PANEL] = pair(w, output, word);

    std::vector<float> sums((size_t)rows * STRIDE, UNWRITTEN);
    kf_bf16_args args = {(const uint8_t*)packed.data, (const uint8_t*)lines.data, sums.data(), (int64_t)row_words * 4, (int64_t)words * 64, STRIDE, words, rows, panels, 0};
    kf_bf16_panels(&args);
    for (int row = 0; row < rows; row++) {
        for (int output = 0; output < panels * PANEL; output++) {
            const uint32_t *a = &x[(size_t)row * words * 2], *b = &w[(size_t)output * words * 2];
            float total = 0, chunk = 0;
            for (int i = 0; i < words * 2; i += 2) {
                if (i % 256 == 0) chunk = 0;
                chunk = std::fma(bf16(a[i]), bf16(b[i]), std::fma(bf16(a[i + 1]), bf16(b[i + 1]), chunk));
                if (i % 256 == 254 || i == words * 2 - 2) total = i < 256 ? chunk : total + chunk;
            }
            expect("bf16", sums, row, output, total);
        }
        for (int output = panels * PANEL; output < STRIDE; output++) expect("bf16, behind the panels", sums, row, output, UNWRITTEN);
    }
}

void test_int8(std::mt19937& random, int bits, int group_k, bool has_zeros, bool per_output, int rows, int panels, int blocks) {
    int k = blocks * TILE, groups = k / group_k, stored = per_output ? 1 : groups, middle = 1 << (bits - 1);
    std::vector<int> q((size_t)rows * k), code((size_t)TILE * k);
    for (int& value : q) value = (int)(random() % 255) - 127;
    for (int& value : code) value = (int)(random() % (2 * middle));
    std::vector<float> scales((size_t)stored * TILE), x_scales((size_t)rows * blocks);
    std::vector<uint8_t> zeros((size_t)stored * TILE);
    for (float& scale : scales) scale = std::ldexp(1.0f + random() % 1000 / 1000.0f, (int)(random() % 9) - 8);
    for (float& scale : x_scales) scale = random() % 1000 / 1000.0f;
    for (uint8_t& zero : zeros) zero = (uint8_t)(random() % (2 * middle));

    int64_t row_bytes = (k + blocks * 4 + groups * 4 + 63) / 64 * 64;
    Aligned<uint8_t> packed((size_t)(rows * row_bytes)), lines((size_t)TILE * k * bits / 8);
    for (int row = 0; row < rows;) {
        int tile = tile_rows(rows - row);
        uint8_t* start = packed.data + row * row_bytes;
        float* tile_scales = (float*)(start + (size_t)k * tile);
        int32_t* tile_sums = (int32_t*)(tile_scales + blocks * tile);
        for (int r = 0; r < tile; r++)
            for (int i = 0; i < k; i++) {
                start[((size_t)(i / 4) * tile + r) * 4 + i % 4] = (uint8_t)q[(size_t)(row + r) * k + i];
                tile_scales[i / TILE * tile + r] = x_scales[(size_t)(row + r) * blocks + i / TILE];
                tile_sums[i / group_k * tile + r] -= q[(size_t)(row + r) * k + i];
            }
        row += tile;
    }
    for (int output = 0; output < TILE; output++)
        for (int i = 0; i < k; i++) {
            int per_line = 32 / bits, in_line = i % per_line;
            size_t line = (size_t)i / TILE * TILE * TILE * bits / 8 / 64 + ((size_t)(output / PANEL) * TILE + i % TILE) / per_line;
            lines.data[line * 64 + output % PANEL * 4 + in_line % 4] |= (uint8_t)(code[(size_t)output * k + i] << (in_line / 4 * 4));
        }

    std::vector<float> sums((size_t)rows * STRIDE, UNWRITTEN);
    kf_int8_args args = {packed.data, lines.data, scales.data(), has_zeros ? zeros.data() : nullptr, sums.data(), row_bytes, STRIDE, bits, blocks, group_k,
        per_output ? 0 : TILE, rows, panels};
    kf_int8_panels(&args);
    for (int row = 0; row < rows; row++) {
        for (int output = 0; output < panels * PANEL; output++) {
            float total = 0;
            for (int group = 0; group < groups; group++) {
                int place = (per_output ? 0 : group) * TILE + output, zero = has_zeros ? zeros[place] : middle, sum = 0;
                for (int i = group * group_k; i < (group + 1) * group_k; i++) sum += (code[(size_t)output * k + i] - zero) * q[(size_t)row * k + i];
                total = std::fma((float)sum * x_scales[(size_t)row * blocks + group * group_k / TILE], scales[place], total);
            }
            expect(bits == 4 ? "4 bits" : "8 bits", sums, row, output, total);
        }
        for (int output = panels * PANEL; output < STRIDE; output++) expect("int8, behind the panels", sums, row, output, UNWRITTEN);
    }
}

} // namespace

int main() {
    std::mt19937 random(1);
    uint32_t features = kf_cpu_features();
    printf("ABI %d, features %u\n", kf_cpu_abi(), features);
    for (int rows = 1; rows <= 9; rows++)
        for (int panels = 1; panels <= 8; panels++) {
            if (features & KF_CPU_BF16)
                for (int k : {1, 2, 255, 256, 257, 600}) test_bf16(random, rows, panels, k);
            if (features & KF_CPU_INT8)
                for (int bits : {4, 8})
                    for (int group_k : {32, 64, 128})
                        for (int kind = 0; kind < 4; kind++)
                            if (kind < 2 || group_k == TILE) test_int8(random, bits, group_k, kind % 2 != 0, kind >= 2, rows, panels, 1 + rows % 3);
        }
    if (failures != 0) printf("%d sums differ\n", failures);
    return failures != 0;
}
