// bf16_panels.cpp - sums of BF16 rows with panels of BF16 weights.
//
// Order    k in chunks of 256: a chain of vdpbf16ps from +0, which adds of each pair first k odd, then k even; sums of chunks are added in ascending order.
// Tiling   P panels x R rows of accumulators: 4 x 4 needs 16 registers and reads 8 words for 16 products; one row takes 8 panels to hide the latency.
#include "kernelforge_cpu.h"

#include <immintrin.h>

namespace {

constexpr int CHUNK_WORDS = 128, LINE_BYTES = 64, PANEL = 16;

template <int P, int R> void multiply(const kf_bf16_args& args, const uint32_t* x, const uint8_t* panels, float* sums) {
    for (int first = 0; first < args.k_words; first += CHUNK_WORDS) {
        int end = first + CHUNK_WORDS < args.k_words ? first + CHUNK_WORDS : args.k_words;
        __m512 chunk[P][R];
        for (int p = 0; p < P; p++)
            for (int r = 0; r < R; r++) chunk[p][r] = _mm512_setzero_ps();
        for (int word = first; word < end; word++) {
            __m512bh weights[P];
            for (int p = 0; p < P; p++) weights[p] = (__m512bh)_mm512_load_si512(panels + p * args.panel_stride + (int64_t)word * LINE_BYTES);
            for (int r = 0; r < R; r++) {
                __m512bh pair = (__m512bh)_mm512_set1_epi32((int)x[word * R + r]);
                for (int p = 0; p < P; p++) chunk[p][r] = _mm512_dpbf16_ps(chunk[p][r], weights[p], pair);
            }
        }
        for (int r = 0; r < R; r++)
            for (int p = 0; p < P; p++) {
                float* sum = sums + r * args.sums_stride + p * PANEL;
                _mm512_storeu_ps(sum, first == 0 ? chunk[p][r] : _mm512_add_ps(_mm512_loadu_ps(sum), chunk[p][r]));
            }
    }
}

// All rows with P panels.
template <int P> void multiply_rows(const kf_bf16_args& args, int panel) {
    const uint8_t* panels = args.panels + panel * args.panel_stride;
    float* sums = args.sums + panel * PANEL;
    int row = 0;
    auto x = [&] { return (const uint32_t*)(args.x + row * args.x_row_bytes); };
    auto sum = [&] { return sums + row * args.sums_stride; };
    for (; args.rows - row >= 4; row += 4) multiply<P, 4>(args, x(), panels, sum());
    if (args.rows - row >= 2) multiply<P, 2>(args, x(), panels, sum()), row += 2;
    if (args.rows - row >= 1) multiply<P, 1>(args, x(), panels, sum());
}

} // namespace

KF_CPU_EXPORT void kf_bf16_panels(const kf_bf16_args* args) {
    int panel = 0, count = args->panels_count;
    if (args->rows == 1 && count == 8) {
        multiply<8, 1>(*args, (const uint32_t*)args->x, args->panels, args->sums);
        return;
    }
    for (; count - panel >= 4; panel += 4) multiply_rows<4>(*args, panel);
    if (count - panel >= 2) multiply_rows<2>(*args, panel), panel += 2;
    if (count - panel >= 1) multiply_rows<1>(*args, panel);
}
