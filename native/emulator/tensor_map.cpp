// tensor_map.cpp - the rules of cuTensorMapEncodeTiled.
#include "tensor_map.h"

#include "text.h"

namespace kf {
namespace {

// Bytes of an element by CUtensorMapDataType: U8, U16, U32, S32, U64, S64, F16, F32, F64, BF16, F32 flushed, TF32, TF32 flushed.
constexpr uint8_t element_bytes[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4};

std::string check_shape(const TiledTensor& t, uint32_t bytes) {
    for (uint32_t k = 0; k < t.rank; ++k) {
        if (t.size[k] == 0 || t.size[k] > uint64_t(1) << 32) return text("size %u is %lu, expected 1 to 2^32", k, t.size[k]);
        if (t.box[k] == 0 || t.box[k] > 256) return text("box %u is %u, expected 1 to 256", k, t.box[k]);
        if (t.element_stride[k] == 0 || t.element_stride[k] > 8) return text("element stride %u is %u, expected 1 to 8", k, t.element_stride[k]);
    }
    for (uint32_t k = 0; k + 1 < t.rank; ++k)
        if (t.stride[k] % 16 || t.stride[k] >= uint64_t(1) << 40) return text("stride %u is %lu bytes, expected a multiple of 16 below 2^40", k, t.stride[k]);
    if (t.box[0] * bytes % 16) return text("the inner box is %u bytes, expected a multiple of 16", t.box[0] * bytes);
    if (t.swizzle && t.box[0] * bytes > 16u << t.swizzle) return text("the inner box is %u bytes, a swizzle of %u takes no more", t.box[0] * bytes, 16u << t.swizzle);
    return {};
}

std::string check(const TiledTensor& t) {
    if (t.type < 0 || t.type >= int(sizeof element_bytes)) return text("data type %d, expected 0 to %zu", t.type, sizeof element_bytes - 1);
    if (t.rank < 1 || t.rank > 5) return text("rank %u, expected 1 to 5", t.rank);
    if (t.address == 0 || t.address % 16) return text("address 0x%lx, expected a multiple of 16", t.address);
    if (t.interleave < 0 || t.interleave > 2) return text("interleave %d, expected 0 to 2", t.interleave);
    if (t.swizzle < 0 || t.swizzle > 3) return text("swizzle %d, expected 0 to 3", t.swizzle);
    if (t.promotion < 0 || t.promotion > 3) return text("promotion %d, expected 0 to 3", t.promotion);
    bool is_float = t.type >= 6;
    if (t.fill < 0 || t.fill > 1 || (t.fill == 1 && !is_float)) return text("fill %d of data type %d, expected 0, or 1 for floats", t.fill, t.type);
    if (!t.size || !t.box || !t.element_stride || (t.rank > 1 && !t.stride)) return "sizes, strides, box and element strides must not be null";
    return check_shape(t, element_bytes[t.type]);
}

std::string check_supported(const TiledTensor& t, uint32_t bytes) {
    if (t.interleave) return "interleaved tensors";
    if (t.fill) return "filling with NaN";
    for (uint32_t k = 0; k < t.rank; ++k)
        if (t.element_stride[k] != 1) return "element strides above 1";
    if (t.swizzle && t.box[0] * bytes != 16u << t.swizzle) return text("an inner box of %u bytes in a swizzle of %u", t.box[0] * bytes, 16u << t.swizzle);
    return {};
}

}  // namespace

uint32_t TensorMap::box_bytes() const {
    uint32_t bytes = element_bytes;
    for (uint32_t k = 0; k < rank; ++k) bytes *= box[k];
    return bytes;
}

std::string encode(const TiledTensor& t, TensorMap& map, bool& supported) {
    supported = true;
    if (std::string broken = check(t); !broken.empty()) return broken;
    uint32_t bytes = element_bytes[t.type];
    if (std::string missing = check_supported(t, bytes); !missing.empty()) {
        supported = false;
        return "the emulator has no " + missing;
    }
    map = {};
    map.mark = TensorMap::current_mark;
    map.address = t.address;
    map.rank = static_cast<uint8_t>(t.rank);
    map.element_bytes = static_cast<uint8_t>(bytes);
    map.swizzle_bits = static_cast<uint8_t>(t.swizzle);
    for (uint32_t k = 0; k < 5; ++k) {
        map.size[k] = k < t.rank ? t.size[k] : 1;
        map.stride[k] = k == 0 ? bytes : k < t.rank ? t.stride[k - 1] : 0;
        map.box[k] = static_cast<uint16_t>(k < t.rank ? t.box[k] : 1);
    }
    return {};
}

}  // namespace kf
