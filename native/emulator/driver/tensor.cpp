// tensor.cpp - tensor maps.
#include <cstring>

#include "../tensor_map.h"
#include "calls.h"

using namespace kf;

KF_EXPORT CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* address, const cuuint64_t* size, const cuuint64_t* stride, const cuuint32_t* box,
                                          const cuuint32_t* element_stride, CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle, CUtensorMapL2promotion promotion, CUtensorMapFloatOOBfill fill) {
    return in_context([&](World& world, CUcontext context) {
        if (context->device->architecture < Architecture::Sm90) return refuse(world, CUDA_ERROR_NOT_SUPPORTED, "tensor map: the device is older than sm_90");
        if (!map || reinterpret_cast<uint64_t>(map) % 64) return refuse(world, CUDA_ERROR_INVALID_VALUE, "tensor map: expected a place for it at a multiple of 64 bytes");
        TensorMap made;
        bool supported;
        std::string broken = encode({type, rank, reinterpret_cast<uint64_t>(address), size, stride, box, element_stride, interleave, swizzle, promotion, fill}, made, supported);
        if (!broken.empty()) return refuse(world, supported ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_NOT_SUPPORTED, "tensor map: " + broken);
        *map = {};
        std::memcpy(map, &made, sizeof made);
        return CUDA_SUCCESS;
    });
}
