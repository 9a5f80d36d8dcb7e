// append_kv.cu - store the keys and values of new tokens in their slots of a paged cache.
//
// Why      Attention reads keys and values by block; the projections write them by token. Paged KV: arXiv:2309.06180.
//
// Math     cache[slot / block_size][0, 1][head][slot % block_size] = keys, values[token][head]
//
// Shapes   keys, values  [tokens, kv_heads * head_dim]   T, rows ..._stride apart
//          slots         [tokens]                        each block * block_size + offset, no slot twice
//          cache         [block][K, V][kv_head][block_size][head_dim]   T
//
// Tiling   A block stores a token, a thread a 16-byte vector at a time; an element where the vectors are not at multiples of 16 bytes. The grid
//          is (tokens, 2): keys, values. No shared memory.
//
// Limits   None.
//
// Cost     Memory bound: 8 * tokens * kv_heads * head_dim bytes.

#include "kf/kf.cuh"

constexpr int THREADS = 128;  // CudaOperators.AppendKv.cs uses the same number

template <class T> struct AppendKvArgs {  // mirrored by AppendKvArgs in C#
    const T* keys;
    const T* values;
    const int* slots;
    T* cache;
    int kv_heads, head_dim, block_size;
    int keys_stride, values_stride;
};

template <class T> KF_INLINE void append_kv(const AppendKvArgs<T>& args) {
    int side = blockIdx.y, slot = args.slots[blockIdx.x], stride = side == 0 ? args.keys_stride : args.values_stride;
    const T* rows = side == 0 ? args.keys : args.values;
    const T* source = rows + (size_t)blockIdx.x * stride;
    int position = slot % args.block_size, columns = args.kv_heads * args.head_dim;
    size_t first_row = (size_t)(2 * (slot / args.block_size) + side) * args.kv_heads * args.block_size + position;

    auto destination = [&](int column) {  // of the head that the column is in
        size_t row = first_row + (size_t)(column / args.head_dim) * args.block_size;
        return args.cache + row * args.head_dim + column % args.head_dim;
    };
    if (rows_are_aligned(rows, stride) && rows_are_aligned(args.cache, args.head_dim)) {
        for (int column = threadIdx.x * 8; column < columns; column += THREADS * 8) store_16(destination(column), load_16(source + column));
    } else {
        for (int column = threadIdx.x; column < columns; column += THREADS) *destination(column) = source[column];
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) append_kv_f16(const __grid_constant__ AppendKvArgs<half> args) { append_kv(args); }
extern "C" __global__ void __launch_bounds__(THREADS) append_kv_bf16(const __grid_constant__ AppendKvArgs<bf16> args) { append_kv(args); }
