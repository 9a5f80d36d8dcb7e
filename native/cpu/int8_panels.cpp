// int8_panels.cpp - sums of rows in 8-bit whole numbers with panels of 4-bit and 8-bit codes.
//
// Order    sum = (code - zero) * q over a group, exact: accumulators start at -zero * sum(q) and take vpdpbusd(codes, q).
//          total = fma((float)sum * scale of x, scale of the weights, total) from +0, groups ascending.
// Tiling   Block of 128 k by block, so that weights are read once and in the order in which they lie; all rows pass by a block in the first-level cache.
//          R rows x P panels of accumulators: 4 x 4, 2 x 8 or 1 x 8. Totals wait in the caller's sums.
#include "kernelforge_cpu.h"

#include <immintrin.h>

namespace {

constexpr int BLOCK = 128, BLOCK_DWORDS = BLOCK / 4, LINE_BYTES = 64, PANEL = 16, TILE_PANELS = 8;

// A packed tile of R rows.
template <int R> struct Tile {
    const int32_t* q;
    const float* scales;
    const int32_t* q_sums;

    Tile(const kf_int8_args& args, const uint8_t* packed)
        : q((const int32_t*)packed), scales((const float*)(q + (int64_t)args.blocks * BLOCK_DWORDS * R)), q_sums((const int32_t*)(scales + args.blocks * R)) {}
};

// sum += codes * q, four products to a lane. As an instruction: g++ 12 copies and spills the accumulators of the intrinsic.
inline void dot(__m512i& sum, __m512i codes, __m512i q) {
#if defined(__GNUC__)
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(codes), "v"(q));
#else
    sum = _mm512_dpbusd_epi32(sum, codes, q);
#endif
}

// Adds the products of lines that hold 4 k (8 bits) or 8 k (4 bits) of each output. Fetches as many lines from ahead on, in the order in which they lie, if FETCHES.
template <int BITS, bool FETCHES, int P, int R>
inline void add_lines(__m512i (&sum)[P][R], const uint8_t* codes, int lines, const int32_t* q, const uint8_t* ahead) {
    constexpr int64_t panel_bytes = BLOCK * PANEL * BITS / 8;
    const __m512i low = _mm512_set1_epi8(0x0F);
    for (int line = 0; line < lines; line++, codes += LINE_BYTES) {
        __m512i words[P];
        for (int p = 0; p < P; p++) {
            words[p] = _mm512_load_si512(codes + p * panel_bytes);
            if (FETCHES) _mm_prefetch((const char*)ahead + (line * P + p) * LINE_BYTES, _MM_HINT_T0);
        }
        for (int half = 0; half < 8 / BITS; half++, q += R) {
            __m512i part[P];
            for (int p = 0; p < P; p++)
                part[p] = BITS == 8 ? words[p] : _mm512_and_si512(half == 0 ? words[p] : _mm512_srli_epi16(words[p], 4), low);
            for (int r = 0; r < R; r++) {
                __m512i four = _mm512_set1_epi32(q[r]);
                for (int p = 0; p < P; p++) dot(sum[p][r], part[p], four);
            }
        }
    }
}

// Adds one block of k to the totals of P panels x R rows.
template <int BITS, bool HAS_ZEROS, bool FETCHES, int P, int R> void add_block(const kf_int8_args& args, const Tile<R>& x, int block, int panel, float* totals) {
    constexpr int64_t panel_bytes = BLOCK * PANEL * BITS / 8;
    const uint8_t* codes = args.codes + (block * TILE_PANELS + panel) * panel_bytes;
    const uint8_t* ahead = codes + TILE_PANELS * panel_bytes;
    const int groups = BLOCK / args.group_k, lines = args.group_k * BITS / 32;
    for (int group = block * groups, end = group + groups; group < end; group++, codes += lines * LINE_BYTES, ahead += P * lines * LINE_BYTES) {
        int64_t place = (int64_t)group * args.scale_group_stride + panel * PANEL;
        __m512i sum[P][R];
        for (int p = 0; p < P; p++) {
            __m512i zero;
            if (HAS_ZEROS) zero = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)(args.zeros + place + p * PANEL)));
            for (int r = 0; r < R; r++) {
                __m512i q_sum = _mm512_set1_epi32(x.q_sums[group * R + r]);
                sum[p][r] = HAS_ZEROS ? _mm512_mullo_epi32(zero, q_sum) : _mm512_slli_epi32(q_sum, BITS - 1);
            }
        }
        add_lines<BITS, FETCHES, P, R>(sum, codes, lines, x.q + (int64_t)group * (args.group_k / 4) * R, ahead);
        for (int p = 0; p < P; p++) {
            __m512 scale = _mm512_loadu_ps(args.scales + place + p * PANEL);
            for (int r = 0; r < R; r++) {
                float* total = totals + r * args.sums_stride + p * PANEL;
                __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sum[p][r]), _mm512_set1_ps(x.scales[block * R + r]));
                _mm512_storeu_ps(total, _mm512_fmadd_ps(scaled, scale, _mm512_loadu_ps(total)));
            }
        }
    }
}

// Adds one block of k to the totals of R rows. Few rows fetch the next block line by line, as they go: they wait for memory, and a burst would only make them wait longer.
template <int BITS, bool HAS_ZEROS, bool FETCHES, int R> void add_tile(const kf_int8_args& args, int row, int block) {
    const Tile<R> x(args, args.x + row * args.x_row_bytes);
    float* totals = args.sums + row * args.sums_stride;
    int panel = 0, count = args.panels_count;
    if constexpr (R < 4)
        if (count == 8) return add_block<BITS, HAS_ZEROS, FETCHES, 8, R>(args, x, block, 0, totals);
    for (; count - panel >= 4; panel += 4) add_block<BITS, HAS_ZEROS, false, 4, R>(args, x, block, panel, totals + panel * PANEL);
    for (; count - panel >= 1; panel += 1) add_block<BITS, HAS_ZEROS, false, 1, R>(args, x, block, panel, totals + panel * PANEL);
}

// Fetches the part of a block of k that falls to some of many rows, while these work on the block before it.
template <int BITS> inline void prefetch(const kf_int8_args& args, int row, int rows, int block) {
    constexpr int64_t panel_bytes = BLOCK * PANEL * BITS / 8;
    const int lines = (int)(args.panels_count * panel_bytes / LINE_BYTES);
    const uint8_t* codes = args.codes + block * TILE_PANELS * panel_bytes;
    for (int line = lines * row / (args.rows & -4), end = lines * (row + rows) / (args.rows & -4); line < end; line++)
        _mm_prefetch((const char*)(codes + line * LINE_BYTES), BITS == 8 ? _MM_HINT_T1 : _MM_HINT_T0);
}

template <int BITS, bool HAS_ZEROS> void multiply(const kf_int8_args& args) {
    for (int row = 0; row < args.rows; row++)
        for (int panel = 0; panel < args.panels_count; panel++) _mm512_storeu_ps(args.sums + row * args.sums_stride + panel * PANEL, _mm512_setzero_ps());
    for (int block = 0; block < args.blocks; block++) {
        int row = 0;
        for (; args.rows - row >= 4; row += 4) {
            prefetch<BITS>(args, row, 4, block + 1);
            add_tile<BITS, HAS_ZEROS, false, 4>(args, row, block);
        }
        if (args.rows - row >= 2) {
            if (row > 0) add_tile<BITS, HAS_ZEROS, false, 2>(args, row, block);
            else add_tile<BITS, HAS_ZEROS, true, 2>(args, row, block);
            row += 2;
        }
        if (args.rows - row >= 1) {
            if (row > 0) add_tile<BITS, HAS_ZEROS, false, 1>(args, row, block);
            else add_tile<BITS, HAS_ZEROS, true, 1>(args, row, block);
        }
    }
}

} // namespace

KF_CPU_EXPORT void kf_int8_panels(const kf_int8_args* args) {
    if (args->bits == 4) args->zeros != nullptr ? multiply<4, true>(*args) : multiply<4, false>(*args);
    else args->zeros != nullptr ? multiply<8, true>(*args) : multiply<8, false>(*args);
}
