// rows.cuh - rows of any length and stride, eight 16-bit elements at a time. Which thread computes an element, hence
// the order of a sum over the row, depends on the element's column only, never on where the row starts.
#pragma once

namespace kf {

// Elements start .. start + PER_VECTOR - 1 of a row; zero behind its end, which is not read.
template <class T> KF_INLINE Vector<T> load_elements(const T* row, int start, int columns, bool is_aligned) {
    if (is_aligned && start + PER_VECTOR<T> <= columns) return load_16(row + start);
    Vector<T> elements;
#pragma unroll
    for (int i = 0; i < PER_VECTOR<T>; i++) elements[i] = start + i < columns ? row[start + i] : from_float<T>(0.0f);
    return elements;
}

// Writes elements start .. start + PER_VECTOR - 1 of a row, none behind its end.
template <class T> KF_INLINE void store_elements(T* row, int start, int columns, bool is_aligned, const Vector<T>& elements) {
    if (is_aligned && start + PER_VECTOR<T> <= columns) return store_16(row + start, elements);
#pragma unroll
    for (int i = 0; i < PER_VECTOR<T>; i++)
        if (start + i < columns) row[start + i] = elements[i];
}

}  // namespace kf
