// dense_weights.cuh - weights that are not quantised, as kernels of mma.sync take them: row by row, a row for each column of the result.
#pragma once

namespace kf {

template <class T> struct DenseWeights {  // mirrored by DenseWeightsArgs in C#
    const T* rows;
    int columns, k;
    int stride;       // elements from one row to the next
    int lane_length;  // k of a lane, a multiple of 128
};

}  // namespace kf
