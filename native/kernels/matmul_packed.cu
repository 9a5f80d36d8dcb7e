// matmul_packed.cu - x times quantised weights, transposed, plus bias; on tensor cores, in an order of sums that no batch can change.
//
// Why      Weights of 4 or 8 bits are a quarter or half of the bytes that decoding waits for. A result element must have the same bits whatever other rows are
//          computed with it, and whichever kernel computes it. This is the readable kernel that defines those bits.
//
// Math     result[t][n] = round(bias[n] + total), then what kf/epilogue.cuh adds;   total = ((0 + s_0) + s_1) + ... over the lanes of k
//          s_l = over the groups of lane l, ascending, fma(scale[n][group], p, s_l) from 0
//          p   = the products x[t][i] * (code[n][i] - zero[n][group]) of a group, summed in F32 by one chain of m16n8k16 steps from 0, i ascending
//          With one scale per column p is the chain of the whole lane. Codes become T without rounding: kf/packed_weights.cuh.
//
// Shapes   x        [rows, k]         T, rows x_stride apart
//          weights  [columns, k]      packed, columns and k padded to multiples of 128
//          result   [rows, columns]   R = T or float; [rows, columns / 2] of gated weights
//
// Tiling   A block computes 64 columns of 64 rows, grid = (ceil(columns / 64), ceil(rows / 64)). Weights are operand A: each of the 4 warps has 16
//          columns on M, whose codes a lane reads from global memory, 16 bytes at a time, and all 64 rows on N. x goes through two buffers in shared memory, 128 k
//          each (32 KB); while one is multiplied, cp.async fills the other.
//
// Limits   None. Rows of x that do not all start at a multiple of 16 bytes are read element by element.
//
// Cost     2 * rows * columns * k FLOP; reads columns * k * BITS / 8 bytes of codes per 64 rows and rows * k * 2 bytes of x per 64 columns.

#include "kf/kf.cuh"

constexpr int BLOCK_ROWS = 64;     // of x and the result; CudaOperators.MatMulPacked.cs uses the same numbers
constexpr int BLOCK_COLUMNS = 64;  // of the weights
constexpr int WARPS = 4;
constexpr int STEP = PACKED_TILE;           // k of a buffer: that of a block of codes
constexpr int ROW_GROUPS = BLOCK_ROWS / 8;  // one operand B each

template <class T, class R> struct MatMulPackedArgs {  // mirrored by MatMulPackedArgs in C#
    const T* x;
    PackedWeights weights;
    Epilogue<T, R> epilogue;
    int x_stride;
    int padding;
};

// The 16 columns of a warp.
struct Columns {
    int first;    // of the product
    int tile;     // of 128 columns, in which they lie
    int in_tile;  // the first of them there
};

// What a group has for the two columns of a lane: lane / 4 of the warp's 16, and 8 further on.
struct Group {
    float scales[2];
    uint32_t offsets[2];
};

using Sums = float[ROW_GROUPS][4];

// Starts the copy of the block's rows of x, k from first_k on. What lies outside of x becomes 0, up to the next 16 rows: the warps read no more.
template <class T, class R> KF_INLINE void load_x(T* tile, const MatMulPackedArgs<T, R>& args, int first_k) {
    constexpr int VECTORS = STEP / 8;
    bool aligned = rows_are_aligned(args.x, args.x_stride);
    int first = blockIdx.y * BLOCK_ROWS, rows = args.epilogue.rows - first;
    for (int i = threadIdx.x; i < min(BLOCK_ROWS, round_up(rows, 16)) * VECTORS; i += WARPS * WARP) {
        int row = i / VECTORS, vector = i % VECTORS, column = first_k + vector * 8;
        int count = row < rows ? args.weights.k - column : 0;
        const T* source = count > 0 ? args.x + (size_t)(first + row) * args.x_stride + column : args.x;
        copy_vector(tile + tile_offset<STEP>(row, vector), source, count, aligned);
    }
}

template <class T, int BITS> KF_INLINE Group load_group(const PackedWeights& weights, const Columns& columns, int group) {
    Group loaded;
#pragma unroll
    for (int side = 0; side < 2; side++) {
        size_t index = scale_index(weights, columns.tile, group) + columns.in_tile + side * 8 + lane_id() / 4;
        loaded.scales[side] = weights.scales[index];
        loaded.offsets[side] = zero_offset<T, BITS>(weights.zeros ? weights.zeros[index] : 1 << (BITS - 1), side);
    }
    return loaded;
}

// Adds the products of one k16 step of the warp's columns to the sums.
template <class T> KF_INLINE void multiply(Sums& sums, const uint32_t (&weights)[4], const T* x_tile, int step, int row_groups) {
#pragma unroll
    for (int group = 0; group < ROW_GROUPS; group += 2) {
        if (group >= row_groups) break;
        uint32_t x[4];
        load_b<STEP>(x, x_tile, group * 8, step);
        mma_m16n8k16<T>(sums[group], weights, x[0], x[1]);
        if (group + 1 < row_groups) mma_m16n8k16<T>(sums[group + 1], weights, x[2], x[3]);
    }
}

// Ends a group: adds it to the total of the lane, and the next one starts from 0.
KF_INLINE void fold_group(Sums& lane, Sums& sums, const Group& group) {
#pragma unroll
    for (int n = 0; n < ROW_GROUPS; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            lane[n][i] = __fmaf_rn(group.scales[i / 2], sums[n][i], lane[n][i]);
            sums[n][i] = 0.0f;
        }
    }
}

// Ends a lane: adds it to the totals, and the next one starts from 0.
KF_INLINE void fold_lane(Sums& totals, Sums& lane) {
#pragma unroll
    for (int n = 0; n < ROW_GROUPS; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            totals[n][i] = __fadd_rn(totals[n][i], lane[n][i]);
            lane[n][i] = 0.0f;
        }
    }
}

// Adds a block of 128 k to the sums, and the groups that end in it to the lane.
template <class T, int BITS>
KF_INLINE void multiply_block(Sums& lane, Sums& sums, Group& group, const PackedWeights& weights, const Columns& columns, const T* x, int block, int row_groups) {
    const uint4* codes = block_codes<BITS>(weights, columns.tile, block) + columns.in_tile / 16 * PACKED_VECTORS<BITS> * WARP + lane_id();
    for (int vector = 0; vector < PACKED_VECTORS<BITS>; vector++) {
        uint4 loaded = codes[vector * WARP];
#pragma unroll
        for (int i = 0; i < PACKED_STEPS<BITS>; i++) {
            int step = vector * PACKED_STEPS<BITS> + i, k = block * STEP + step * 16;
            if (weights.group_size != 0 && k % weights.group_size == 0) group = load_group<T, BITS>(weights, columns, k / weights.group_size);
            uint32_t a[4];
            dequantize<T, BITS>(a, loaded, i, group.offsets);
            multiply(sums, a, x, step, row_groups);
            if (weights.group_size != 0 && (k + 16) % weights.group_size == 0) fold_group(lane, sums, group);
        }
    }
}

// A lane of the warp has the columns lane / 4 and lane / 4 + 8 of rows 2 * (lane % 4) and the next one, in every group of rows.
template <class T, class R> KF_INLINE void write_result(const MatMulPackedArgs<T, R>& args, const Sums& totals, const Columns& columns) {
    int first_row = blockIdx.y * BLOCK_ROWS + lane_id() % 4 * 2;
#pragma unroll
    for (int n = 0; n < ROW_GROUPS; n++) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int row = first_row + n * 8 + i;
            if (row < args.epilogue.rows) finish_pair(args.epilogue, row, columns.first, lane_id() / 4, totals[n][i], totals[n][2 + i]);
        }
    }
}

template <int BITS, class T, class R> KF_INLINE void matmul_packed(const MatMulPackedArgs<T, R>& args) {
    __shared__ T buffers[2][BLOCK_ROWS * STEP];
    const PackedWeights& weights = args.weights;
    int first = blockIdx.x * BLOCK_COLUMNS + warp_id() * 16;
    Columns columns{first, first / PACKED_TILE, first % PACKED_TILE};
    int blocks = ceil_div(weights.k, STEP);
    int row_groups = min(ROW_GROUPS, ceil_div(args.epilogue.rows - (int)blockIdx.y * BLOCK_ROWS, 8));
    Group group = load_group<T, BITS>(weights, columns, 0);  // the only one where group_size is 0
    Sums totals = {}, lane = {}, sums = {};

    load_x(buffers[0], args, 0);
    cp_async_commit();
    for (int block = 0; block < blocks; block++) {
        int next_k = (block + 1) * STEP;
        if (block + 1 < blocks) load_x(buffers[(block + 1) % 2], args, next_k);
        cp_async_commit();
        cp_async_wait<1>();
        __syncthreads();  // every thread's part of this block of x is there
        if (first < weights.columns) multiply_block<T, BITS>(lane, sums, group, weights, columns, buffers[block % 2], block, row_groups);
        if (next_k % weights.lane_length == 0 || block + 1 == blocks) {
            if (weights.group_size == 0) fold_group(lane, sums, group);
            fold_lane(totals, lane);
        }
        __syncthreads();  // every warp has read the buffer: it may be filled again
    }
    write_result(args, totals, columns);
}

#define KF_ENTRY(name, T, R, BITS)                                                                                                       \
    extern "C" __global__ void __launch_bounds__(WARPS * WARP) matmul_packed_##name(const __grid_constant__ MatMulPackedArgs<T, R> args) { \
        matmul_packed<BITS>(args);                                                                                                      \
    }

KF_ENTRY(f16_w4_simple, half, half, 4)
KF_ENTRY(f16_w8_simple, half, half, 8)
KF_ENTRY(bf16_w4_simple, bf16, bf16, 4)
KF_ENTRY(bf16_w8_simple, bf16, bf16, 8)
KF_ENTRY(f16_f32_w4_simple, half, float, 4)
KF_ENTRY(f16_f32_w8_simple, half, float, 8)
KF_ENTRY(bf16_f32_w4_simple, bf16, float, 4)
KF_ENTRY(bf16_f32_w8_simple, bf16, float, 8)
