// embed.cu - copy rows of a table by index.
//
// Why      Token embedding, and gathering some rows of a matrix.
//
// Math     result[i] = table[rows[i]]
//
// Shapes   rows     [n]               int, 0 .. rows of the table - 1
//          table    [any, columns]    T, rows table_stride apart
//          result   [n, columns]      T, rows result_stride apart
//
// Tiling   One block per result row; its threads take 16-byte vectors in turn. Rows that do not start at a multiple of
//          16 bytes are copied element by element.
//
// Limits   A row number outside of the table reads outside of it.
//
// Cost     Memory bound: 2 * n * columns * sizeof(T) bytes.

#include "kf/kf.cuh"

constexpr int THREADS = 128;  // CudaOperators.Embed.cs uses the same number

template <class T> struct EmbedArgs {  // mirrored by EmbedArgs in C#
    const int* rows;
    const T* table;
    T* result;
    int columns;
    int table_stride;
    int result_stride;
};

template <class T> KF_INLINE void embed(const EmbedArgs<T>& args) {
    const T* source = args.table + (size_t)args.rows[blockIdx.x] * args.table_stride;
    T* destination = args.result + (size_t)blockIdx.x * args.result_stride;
    bool is_aligned = rows_are_aligned(args.table, args.table_stride) && rows_are_aligned(args.result, args.result_stride);
    for (int start = threadIdx.x * PER_VECTOR<T>; start < args.columns; start += THREADS * PER_VECTOR<T>)
        store_elements(destination, start, args.columns, is_aligned, load_elements(source, start, args.columns, is_aligned));
}

extern "C" __global__ void __launch_bounds__(THREADS) embed_f16(const __grid_constant__ EmbedArgs<half> args) { embed(args); }
extern "C" __global__ void __launch_bounds__(THREADS) embed_bf16(const __grid_constant__ EmbedArgs<bf16> args) { embed(args); }
extern "C" __global__ void __launch_bounds__(THREADS) embed_f32(const __grid_constant__ EmbedArgs<float> args) { embed(args); }
