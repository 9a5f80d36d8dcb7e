// matmul.cu - x times weights, transposed, plus bias; on tensor cores, in an order of sums that no batch can change.
//
// Why      All dense layers and the logits. A result element must have the same bits whatever other rows are computed with it, and
//          whichever kernel computes it: the canon of native/README.md. This is the readable kernel that defines those bits.
//
// Math     result[t][n] = round(bias[n] + total), then + residual[t][n] (kf/epilogue.cuh);   total = ((0 + s_0) + s_1) + ... over the lanes of k
//          s_l = the products x[t][i] * weights[n][i] of lane l, summed in F32 by one chain of m16n8k16 steps from 0, i ascending.
//          Lane l is i in l * lane_length .. (l + 1) * lane_length - 1; lane_length depends on n and k alone (MatMulLanes in C#).
//          k = 0 gives the bias, or 0.
//
// Shapes   x        [rows, k]         T, rows x_stride apart
//          weights  [columns, k]      T, rows weights_stride apart
//          result   [rows, columns]   R = T or float
//
// Tiling   A block computes 64 columns of 64 rows, grid = (ceil(columns / 64), ceil(rows / 64)). Weights are operand A: each of the 4 warps has 16
//          columns of the result on M and all 64 rows on N. Steps of 64 k go through two buffers in shared memory (32 KB); while one is
//          multiplied, cp.async fills the other.
//
//                    k ->                  k ->
//          weights  +------+ 16 warp 0   +------+ 8   x
//                   +------+ 16 warp 1   +------+ 8
//                   +------+ 16 warp 2   +------+ ... 8 groups of 8 rows; empty ones are skipped
//                   +------+ 16 warp 3   +------+ 8
//
// Limits   None. Rows that do not all start at a multiple of 16 bytes are read element by element.
//
// Cost     2 * rows * columns * k FLOP; reads columns * k * 2 bytes of weights per 64 rows and rows * k * 2 bytes of x per 64 columns.

#include "kf/kf.cuh"

constexpr int BLOCK_ROWS = 64;     // of x and the result; CudaOperators.MatMul.cs uses the same numbers
constexpr int BLOCK_COLUMNS = 64;  // of the result
constexpr int WARPS = 4;
constexpr int STEP = 64;                    // k of a buffer
constexpr int ROW_GROUPS = BLOCK_ROWS / 8;  // one operand B each

template <class T, class R> struct MatMulArgs {  // mirrored by MatMulArgs in C#
    const T* x;
    const T* weights;
    Epilogue<T, R> epilogue;
    int k;
    int x_stride, weights_stride;
    int lane_length;  // a multiple of STEP
};

template <class T> struct Buffer {
    T x[BLOCK_ROWS * STEP];
    T weights[BLOCK_COLUMNS * STEP];
};

using Sums = float[ROW_GROUPS][4];

// Starts the copy of rows first .. first + 63 of a matrix, k from first_k on. What lies outside of the matrix becomes 0, up to the next 16 rows: the
// warps read no more.
template <class T> KF_INLINE void load_tile(T* tile, const T* matrix, int stride, int first, int rows, int first_k, int k) {
    constexpr int VECTORS = STEP / 8;
    bool aligned = rows_are_aligned(matrix, stride);
    int tile_rows = min(64, round_up(rows - first, 16));
    for (int i = threadIdx.x; i < tile_rows * VECTORS; i += WARPS * WARP) {
        int row = i / VECTORS, vector = i % VECTORS, column = first_k + vector * 8;
        int count = first + row < rows ? k - column : 0;
        const T* source = count > 0 ? matrix + (size_t)(first + row) * stride + column : matrix;
        copy_vector(tile + tile_offset<STEP>(row, vector), source, count, aligned);
    }
}

template <class T, class R> KF_INLINE void load_buffer(Buffer<T>& buffer, const MatMulArgs<T, R>& args, int first_k) {
    load_tile(buffer.weights, args.weights, args.weights_stride, blockIdx.x * BLOCK_COLUMNS, args.epilogue.columns, first_k, args.k);
    load_tile(buffer.x, args.x, args.x_stride, blockIdx.y * BLOCK_ROWS, args.epilogue.rows, first_k, args.k);
}

// Adds the products of one buffer to the sums of the warp's 16 columns.
template <class T> KF_INLINE void multiply(Sums& sums, const Buffer<T>& buffer, int row_groups) {
#pragma unroll
    for (int step = 0; step < STEP / 16; step++) {
        uint32_t weights[4], x[4];
        load_a<STEP>(weights, buffer.weights, warp_id() * 16, step);
#pragma unroll
        for (int group = 0; group < ROW_GROUPS; group += 2) {
            if (group >= row_groups) break;
            load_b<STEP>(x, buffer.x, group * 8, step);
            mma_m16n8k16<T>(sums[group], weights, x[0], x[1]);
            if (group + 1 < row_groups) mma_m16n8k16<T>(sums[group + 1], weights, x[2], x[3]);
        }
    }
}

// Adds a finished lane to the totals and starts the next one from 0.
KF_INLINE void fold_lane(Sums& totals, Sums& sums) {
#pragma unroll
    for (int group = 0; group < ROW_GROUPS; group++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            totals[group][i] = __fadd_rn(totals[group][i], sums[group][i]);
            sums[group][i] = 0.0f;
        }
    }
}

// A lane of the warp has the columns lane / 4 and lane / 4 + 8 of rows 2 * (lane % 4) and the next one, in every group.
template <class T, class R> KF_INLINE void write_result(const MatMulArgs<T, R>& args, const Sums& totals) {
    int first_row = blockIdx.y * BLOCK_ROWS + lane_id() % 4 * 2;
    int first_column = blockIdx.x * BLOCK_COLUMNS + warp_id() * 16 + lane_id() / 4;
#pragma unroll
    for (int side = 0; side < 2; side++) {
        int column = first_column + side * 8;
        if (column >= args.epilogue.columns) break;
#pragma unroll
        for (int group = 0; group < ROW_GROUPS; group++) {
#pragma unroll
            for (int i = 0; i < 2; i++) {
                int row = first_row + group * 8 + i;
                if (row < args.epilogue.rows) finish(args.epilogue, row, column, totals[group][side * 2 + i]);
            }
        }
    }
}

template <class T, class R> KF_INLINE void matmul(const MatMulArgs<T, R>& args) {
    __shared__ Buffer<T> buffers[2];
    int steps = ceil_div(args.k, STEP);
    int row_groups = min(ROW_GROUPS, ceil_div(args.epilogue.rows - (int)blockIdx.y * BLOCK_ROWS, 8));
    bool has_columns = (int)blockIdx.x * BLOCK_COLUMNS + warp_id() * 16 < args.epilogue.columns;
    Sums totals = {}, sums = {};

    load_buffer(buffers[0], args, 0);
    cp_async_commit();
    for (int step = 0; step < steps; step++) {
        int next_k = (step + 1) * STEP;
        if (next_k < args.k) load_buffer(buffers[(step + 1) % 2], args, next_k);
        cp_async_commit();
        cp_async_wait<1>();
        __syncthreads();  // every thread's part of this step's buffer is there
        if (has_columns) multiply(sums, buffers[step % 2], row_groups);
        if (next_k % args.lane_length == 0) fold_lane(totals, sums);
        __syncthreads();  // every warp has read the buffer: it may be filled again
    }
    fold_lane(totals, sums);  // the last lane when it is short; otherwise adds 0
    write_result(args, totals);
}

extern "C" __global__ void __launch_bounds__(WARPS * WARP) matmul_f16_simple(const __grid_constant__ MatMulArgs<half, half> args) { matmul(args); }
extern "C" __global__ void __launch_bounds__(WARPS * WARP) matmul_bf16_simple(const __grid_constant__ MatMulArgs<bf16, bf16> args) { matmul(args); }
extern "C" __global__ void __launch_bounds__(WARPS * WARP) matmul_f16_f32_simple(const __grid_constant__ MatMulArgs<half, float> args) { matmul(args); }
extern "C" __global__ void __launch_bounds__(WARPS * WARP) matmul_bf16_f32_simple(const __grid_constant__ MatMulArgs<bf16, float> args) { matmul(args); }
