// kernelforge_cpu.h - C ABI of the native CPU library: sums of products for which .NET has no instructions.
//
// Why      vdpbf16ps and the 512-bit vpdpbusd do twice and four times the work of a fused multiply-add. All else of a product (packing x, threads,
//          epilogues) stays in C#, which also has every product in its own instructions. Bits are the same either way (IPanelProduct.cs says the order
//          of sums); only BF16 subnormals differ, which vdpbf16ps takes as zero.
//
// Words    A panel is sixteen outputs. A line is 64 bytes: one 32-bit word of neighbours along k for each output of a panel (PanelLayout.cs).
//          Rows of x come in tiles of 4, then 2, then 1 (RowTiles); a packed tile holds [word of k][row] dwords, so that one dword is spread over a line.
//
// Rules    No state, no allocation, no threads: every function may run on any number of threads at once. Callers ask kf_cpu_features first; a function
//          whose bit is missing must not be called. Pointers to panels are aligned to 64 bytes, all others to their elements.
#pragma once

#include <stdint.h>

#if defined(_WIN32)
#define KF_CPU_EXPORT extern "C" __declspec(dllexport)
#else
#define KF_CPU_EXPORT extern "C" __attribute__((visibility("default")))
#endif

// Number of this interface; it changes whenever a struct or a meaning does.
constexpr int32_t KF_CPU_ABI = 1;

// What the machine and its operating system can run.
constexpr uint32_t KF_CPU_BF16 = 1; // kf_bf16_panels: AVX512F, BW, VL, BF16
constexpr uint32_t KF_CPU_INT8 = 2; // kf_int8_panels: AVX512F, BW, VL, VNNI

constexpr int32_t KF_CPU_MOST_PANELS = 8;

// BF16 x times BF16 weights.
struct kf_bf16_args { // mirrored by NativeBf16Args in C#
    const uint8_t* x;     // tiles of [k_words][rows of the tile] pairs of BF16; x_row_bytes for each row
    const uint8_t* panels; // the first panel: [k_words] lines
    float* sums;          // [rows][sums_stride], 16 for each panel; written
    int64_t x_row_bytes;  // bytes of a packed row
    int64_t panel_stride; // bytes from one panel to the next
    int64_t sums_stride;  // floats from one row to the next
    int32_t k_words;      // pairs of k
    int32_t rows;
    int32_t panels_count; // 1 .. KF_CPU_MOST_PANELS
    int32_t padding;
};

// x in 8-bit whole numbers times codes of 4 or 8 bits.
struct kf_int8_args { // mirrored by NativeInt8Args in C#
    const uint8_t* x;          // tiles of: [32 blocks dwords][rows of the tile] of q; [blocks][rows] float scales; [groups][rows] int32 sums of -q; x_row_bytes for each row
    const uint8_t* codes;      // the first panel of the first block: lines
    const float* scales;       // of the weights: [groups][128], the first panel's first
    const uint8_t* zeros;      // zero points in the same places; null where zero is the middle of the codes
    float* sums;               // [rows][sums_stride], 16 for each panel; written
    int64_t x_row_bytes;       // bytes of a packed row
    int64_t sums_stride;       // floats from one row to the next
    int32_t bits;              // 4 or 8
    int32_t blocks;            // of 128 k
    int32_t group_k;           // weights of a group: 32, 64 or 128
    int32_t scale_group_stride; // floats from one group's scales to the next: 128, or 0 for one scale per output
    int32_t rows;
    int32_t panels_count;      // 1 .. KF_CPU_MOST_PANELS, all of one tile of 128 outputs
};

KF_CPU_EXPORT int32_t kf_cpu_abi(void);
KF_CPU_EXPORT uint32_t kf_cpu_features(void);
KF_CPU_EXPORT void kf_bf16_panels(const kf_bf16_args* args);
KF_CPU_EXPORT void kf_int8_panels(const kf_int8_args* args);
