// epilogue.cuh - what becomes of the total of a product's element. Every step rounds as the operator of its name does (matmul, silu_mul, add_rms_norm), so a
// fused step changes no bit.
#pragma once

namespace kf {

template <class T, class R> struct Epilogue {  // mirrored by EpilogueArgs in C#
    const T* bias;      // [columns], gated [2 * columns] with those of the gates first; or null
    const R* residual;  // [rows, columns], or null; may be the result
    R* result;          // [rows, columns], R is T or float
    int rows, columns;
    int result_stride, residual_stride;
    int gated;  // whether the weights are gate and up projection in one, and the result silu(gate) * up
    int padding;
};

// A product plus the bias of its column, rounded.
template <class T, class R> KF_INLINE R add_bias(const Epilogue<T, R>& epilogue, int column, float total) {
    return from_float<R>(__fadd_rn(total, epilogue.bias ? to_float(epilogue.bias[column]) : 0.0f));
}

// An element before the residual: the product, or of gated weights gate and up projection made one.
template <class T, class R> KF_INLINE R product(const Epilogue<T, R>& epilogue, int column, float total, float up_total) {
    R gate = add_bias(epilogue, column, total);
    if (!epilogue.gated) return gate;
    R up = add_bias(epilogue, epilogue.columns + column, up_total);
    return from_float<R>(__fmul_rn(silu(to_float(gate)), to_float(up)));
}

template <class T, class R> KF_INLINE void add_residual_and_store(const Epilogue<T, R>& epilogue, int row, int column, R value) {
    if (epilogue.residual) value = from_float<R>(__fadd_rn(to_float(value), to_float(epilogue.residual[(size_t)row * epilogue.residual_stride + column])));
    epilogue.result[(size_t)row * epilogue.result_stride + column] = value;
}

// Writes an element of a product.
template <class T, class R> KF_INLINE void finish(const Epilogue<T, R>& epilogue, int row, int column, float total) {
    add_residual_and_store(epilogue, row, column, add_bias(epilogue, column, total));
}

// Writes an element of a gated product: the totals of gate and up projection of the column.
template <class T, class R> KF_INLINE void finish_gated(const Epilogue<T, R>& epilogue, int row, int column, float gate_total, float up_total) {
    add_residual_and_store(epilogue, row, column, product(epilogue, column, gate_total, up_total));
}

// Writes what a lane of an MMA has of a row and 16 columns of the weights, first .. first + 15: the totals of columns first + place and first + place + 8,
// which gated weights have as gate and up projection of one column of the result. Nothing behind the last column.
template <class T, class R> KF_INLINE void finish_pair(const Epilogue<T, R>& epilogue, int row, int first, int place, float total, float next_total) {
    if (epilogue.gated) {
        int column = first / 2 + place;
        if (column < epilogue.columns) finish_gated(epilogue, row, column, total, next_total);
    } else {
        int column = first + place;
        if (column < epilogue.columns) finish(epilogue, row, column, total);
        if (column + 8 < epilogue.columns) finish(epilogue, row, column + 8, next_total);
    }
}

// Whether rows are whole 16-byte vectors, so that finish_row may be called.
template <class T, class R> KF_INLINE bool takes_vectors(const Epilogue<T, R>& epilogue) {
    return epilogue.columns % 8 == 0 && rows_are_aligned(epilogue.result, epilogue.result_stride)
        && (!epilogue.residual || rows_are_aligned(epilogue.residual, epilogue.residual_stride));
}

// Writes 8 neighbours of a row, column a multiple of 8, from the totals of the product; ups are those of the up projection of gated weights.
template <class T, class R> KF_INLINE void finish_row(const Epilogue<T, R>& epilogue, int row, int column, const float (&totals)[8], const float (&ups)[8]) {
    constexpr int PER = PER_VECTOR<R>;
#pragma unroll
    for (int first = 0; first < 8; first += PER) {
        Vector<R> values;
#pragma unroll
        for (int i = 0; i < PER; i++) values[i] = product(epilogue, column + first + i, totals[first + i], ups[first + i]);
        if (epilogue.residual) {
            Vector<R> residual = load_16(epilogue.residual + (size_t)row * epilogue.residual_stride + column + first);
#pragma unroll
            for (int i = 0; i < PER; i++) values[i] = from_float<R>(__fadd_rn(to_float(values[i]), to_float(residual[i])));
        }
        store_16(epilogue.result + (size_t)row * epilogue.result_stride + column + first, values);
    }
}

}  // namespace kf
