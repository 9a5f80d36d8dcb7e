// mma_model.h - one tensor-core instruction for a whole warp, bit for bit as the hardware rounds it.
//
// Model (microsoft/MMA-Sim, arXiv:2511.10909): d = RZ32( sum over i of trunc_F(a_i * b_i) + trunc_F(c) ): exact products and the addend are
// aligned to the largest exponent, each truncated to F fraction bits, summed exactly, truncated to F32.
//   sm_80: two chained steps of 8 products, F = 24.   sm_90: one step of 16 products, F = 25.
#pragma once

#include <cstdint>

#include "engine.h"

namespace kf {

enum class MmaType { F16, BF16 };

// d[16][8] = a[16][16] * b[16][8] + c[16][8]. Operands as 16-bit patterns, a row-major, b as [n][k]; d may be c.
void mma_m16n8k16(MmaType type, Architecture architecture, const uint16_t a[16 * 16], const uint16_t b[8 * 16], const float c[16 * 8], float d[16 * 8]);

// d[16][columns] += a[16][16] * b[16][columns], columns a multiple of 8: what a warp does of one wgmma. b as [column][k], d as [column][row].
void mma_m16k16(MmaType type, Architecture architecture, const uint16_t a[16 * 16], const uint16_t* b, int columns, float* d);

// mma_m16n8k16 with 8 products; one step of 8 on both architectures.
void mma_m16n8k8(MmaType type, Architecture architecture, const uint16_t a[16 * 8], const uint16_t b[8 * 8], const float c[16 * 8], float d[16 * 8]);

}  // namespace kf
