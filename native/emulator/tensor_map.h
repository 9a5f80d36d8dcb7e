// tensor_map.h - the emulator's own encoding of a tensor map: what the driver writes into the 128 bytes and the copies of tiles read from them.
#pragma once

#include <cstdint>
#include <string>

namespace kf {

struct TensorMap {
    uint64_t mark;         // tells a tensor map from other bytes
    uint64_t address;
    uint64_t size[5];      // elements, fastest dimension first
    uint64_t stride[5];    // bytes from one element of a dimension to the next; stride[0] is the element
    uint16_t box[5];       // elements that one copy moves
    uint8_t rank, element_bytes, swizzle_bits;  // swizzle: address bits 4 and up are changed by as many bits from 7 on, 0 to 3
    uint8_t unused[3];

    static constexpr uint64_t current_mark = 0x70616d2d726f736eull;
    uint32_t box_bytes() const;
};
static_assert(sizeof(TensorMap) == 128 - 16);

// The arguments of cuTensorMapEncodeTiled.
struct TiledTensor {
    int type;
    uint32_t rank;
    uint64_t address;
    const uint64_t *size, *stride;  // rank of them, rank - 1 of them
    const uint32_t *box, *element_stride;
    int interleave, swizzle, promotion, fill;
};

// Fills the map, or says which rule of the driver the arguments break. supported becomes false for what only the emulator lacks.
std::string encode(const TiledTensor& tensor, TensorMap& map, bool& supported);

// Where swizzled shared memory keeps a byte.
constexpr uint32_t swizzled(uint32_t offset, uint32_t swizzle_bits) { return offset ^ ((offset >> 3) & (((1u << swizzle_bits) - 1) << 4)); }

}  // namespace kf
