// normalize.cuh - the second half of rms_norm and add_rms_norm: from the sum of squares to the result.
#pragma once

namespace kf {

// sum + the squares of eight elements in ascending order.
template <class T> KF_INLINE float add_squares(float sum, const Vector<T>& elements) {
#pragma unroll
    for (int i = 0; i < PER_VECTOR<T>; i++) sum = __fmaf_rn(to_float(elements[i]), to_float(elements[i]), sum);
    return sum;
}

// result = source / sqrt(mean of squares + epsilon) * weight for the row of a block; squares is this thread's part of
// the sum. A thread reads the vectors t, t + THREADS, ... of the source.
template <int THREADS, class T>
KF_INLINE void normalize(const T* source, bool source_is_aligned, float squares, const T* weight, float epsilon,
                         T* result, bool result_is_aligned, int columns) {
    __shared__ float of_warps[THREADS / WARP];
    float mean = __fdiv_rn(block_sum(squares, of_warps), (float)columns);
    float factor = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(mean, epsilon)));
    bool weight_is_aligned = rows_are_aligned(weight, 0);
    for (int start = threadIdx.x * PER_VECTOR<T>; start < columns; start += THREADS * PER_VECTOR<T>) {
        Vector<T> x = load_elements(source, start, columns, source_is_aligned);
        Vector<T> w = load_elements(weight, start, columns, weight_is_aligned), scaled;
#pragma unroll
        for (int i = 0; i < PER_VECTOR<T>; i++) scaled[i] = from_float<T>(__fmul_rn(__fmul_rn(to_float(x[i]), factor), to_float(w[i])));
        store_elements(result, start, columns, result_is_aligned, scaled);
    }
}

}  // namespace kf
