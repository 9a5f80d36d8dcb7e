// rope.cu - rotate every head's pairs of elements by angles that grow with the token's position.
//
// Why      Attention then sees how far two tokens are apart. RoFormer, arXiv:2104.09864, in the pairing of Hugging Face checkpoints:
//          element i of a head with element i + head_dim / 2.
//
// Math     a' = a cos - b sin,   b' = b cos + a sin     for the pair (a, b) and the angle (position, i); each product is rounded, then the sum, as
//          on the CPU
//
// Shapes   x          [tokens, heads * head_dim]   T, rows x_stride apart; changed in place
//          positions  [tokens]                     0 .. positions - 1
//          angles     [positions, head_dim]        float, rows angles_stride apart: head_dim / 2 cosines, then as many sines
//
// Tiling   A block has a token, a thread eight pairs at a time: two vectors of x. One pair where the vectors are not at multiples of 16 bytes. No
//          shared memory.
//
// Limits   head_dim is even.
//
// Cost     Memory bound: 4 * tokens * heads * head_dim bytes of x, and 4 * head_dim bytes of angles per token.

#include "kf/kf.cuh"

constexpr int THREADS = 128;  // CudaOperators.Rope.cs uses the same number

template <class T> struct RopeArgs {  // mirrored by RopeArgs in C#
    T* x;
    const int* positions;
    const float* angles;
    int heads, head_dim;
    int x_stride, angles_stride;
};

template <class T> KF_INLINE void rotate(T& a, T& b, float cosine, float sine) {
    float first = to_float(a), second = to_float(b);
    a = from_float<T>(__fsub_rn(__fmul_rn(first, cosine), __fmul_rn(second, sine)));
    b = from_float<T>(__fadd_rn(__fmul_rn(second, cosine), __fmul_rn(first, sine)));
}

template <class T> KF_INLINE void rotate_vectors(T* row, const float* angles, const RopeArgs<T>& args) {
    int half_dim = args.head_dim / 2, vectors = half_dim / 8;
    for (int i = threadIdx.x; i < args.heads * vectors; i += THREADS) {
        int element = i % vectors * 8;
        T* head = row + i / vectors * args.head_dim + element;
        Vector<T> a = load_16(head), b = load_16(head + half_dim);
#pragma unroll
        for (int k = 0; k < 8; k++) rotate(a[k], b[k], angles[element + k], angles[half_dim + element + k]);
        store_16(head, a);
        store_16(head + half_dim, b);
    }
}

template <class T> KF_INLINE void rotate_pairs(T* row, const float* angles, const RopeArgs<T>& args) {
    int half_dim = args.head_dim / 2;
    for (int i = threadIdx.x; i < args.heads * half_dim; i += THREADS) {
        int element = i % half_dim;
        T* head = row + i / half_dim * args.head_dim + element;
        rotate(head[0], head[half_dim], angles[element], angles[half_dim + element]);
    }
}

template <class T> KF_INLINE void rope(const RopeArgs<T>& args) {
    T* row = args.x + (size_t)blockIdx.x * args.x_stride;
    const float* angles = args.angles + (size_t)args.positions[blockIdx.x] * args.angles_stride;
    if (args.head_dim % 16 == 0 && rows_are_aligned(args.x, args.x_stride)) rotate_vectors(row, angles, args);
    else rotate_pairs(row, angles, args);
}

extern "C" __global__ void __launch_bounds__(THREADS) rope_f16(const __grid_constant__ RopeArgs<half> args) { rope(args); }
extern "C" __global__ void __launch_bounds__(THREADS) rope_bf16(const __grid_constant__ RopeArgs<bf16> args) { rope(args); }
