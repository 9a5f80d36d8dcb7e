// vec.cuh - elements of the three float types, and 16-byte vectors of them.
#pragma once

namespace kf {

// Whether T is a type of activations: half or bf16.
template <class T> constexpr bool is_16_bit = std::is_same_v<T, half> || std::is_same_v<T, bf16>;

// The exact value of an element.
KF_INLINE float to_float(float x) { return x; }
KF_INLINE float to_float(half x) { return __half2float(x); }
KF_INLINE float to_float(bf16 x) { return __bfloat162float(x); }

// The element nearest to a value, ties to even.
template <class T> KF_INLINE T from_float(float x);
template <> KF_INLINE float from_float<float>(float x) { return x; }
template <> KF_INLINE half from_float<half>(float x) { return __float2half_rn(x); }
template <> KF_INLINE bf16 from_float<bf16>(float x) { return __float2bfloat16_rn(x); }

// Elements in 16 bytes.
template <class T> constexpr int PER_VECTOR = 16 / sizeof(T);

// 16 bytes of elements; index them with constants, so that they stay in registers.
template <class T> struct alignas(16) Vector {
    T items[PER_VECTOR<T>];
    KF_INLINE T& operator[](int i) { return items[i]; }
    KF_INLINE const T& operator[](int i) const { return items[i]; }
};

// Reads 16 bytes at a multiple of 16.
template <class T> KF_INLINE Vector<T> load_16(const T* address) {
    union Bits { int4 bits; Vector<T> vector; KF_INLINE Bits() {} } loaded;
    loaded.bits = *reinterpret_cast<const int4*>(address);
    return loaded.vector;
}

// Writes 16 bytes at a multiple of 16.
template <class T> KF_INLINE void store_16(T* address, const Vector<T>& vector) {
    union Bits { int4 bits; Vector<T> vector; KF_INLINE Bits() {} } stored;
    stored.vector = vector;
    *reinterpret_cast<int4*>(address) = stored.bits;
}

// Whether rows that start here, stride elements apart, all start at a multiple of 16 bytes.
template <class T> KF_INLINE bool rows_are_aligned(const T* address, int stride) {
    return reinterpret_cast<uintptr_t>(address) % 16 == 0 && stride % PER_VECTOR<T> == 0;
}

}  // namespace kf
