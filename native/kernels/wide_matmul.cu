// wide_matmul.cu - x times weights, transposed, for many rows: dense weights or packed ones of 4 or 8 bits; on tensor cores by mma.sync.
//
// Why      Above 64 rows a product is bound by arithmetic. A block reads its weights once for 128 rows, and what it dequantises serves 64 of them.
//
// Math     Dense: that of matmul.cu. Packed: that of kf/packed_weights.cuh. Then kf/epilogue.cuh. The bits are those of the `simple` kernels.
//
// Shapes   x        [rows, k]         T, rows x_stride apart
//          weights  dense [outputs, k] T, rows stride apart, or packed
//          result   [rows, columns]   R = T or float; columns = outputs, half of them where gated
//
// Tiling   A block computes 128 outputs of 128 rows; its 8 warps 32 outputs x 64 rows each, so that shared memory gives 144 bytes for an MMA of 4-bit weights and
//          192 of dense ones. Steps of 64 k go through a ring in shared memory, filled by cp.async: 4 stages of 21 KB (4 bits), 3 of 25 KB (8 bits) or 32 KB
//          (dense). That fits the 99 KB of sm_86 and sm_89. The ring's memory then turns the totals into rows of the result.
//          Sums of a group, of a lane of k, and of all lanes are in registers. A block walks the lanes of k (grid = tiles), or, where there are few tiles, each has one
//          of them (grid = (tiles, lanes)) and the last block of a tile adds them: kf/lane_sums.cuh.
//
//                         64 rows   64 rows
//          32 outputs   +  warp 0 |  warp 4 +
//          32 outputs   |  warp 1 |  warp 5 |
//          32 outputs   |  warp 2 |  warp 6 |
//          32 outputs   +  warp 3 |  warp 7 +
//
// Limits   None. Rows that do not all start at a multiple of 16 bytes are read and written element by element.
//
// Cost     2 * rows * outputs * k FLOP; reads outputs * k weights per 128 rows and rows * k * 2 bytes of x per 128 outputs, most of it from L2: neighbouring
//          blocks share both (find_tile).

#include "kf/kf.cuh"

constexpr int BLOCK_ROWS = 128, BLOCK_OUTPUTS = 128;  // CudaOperators.WideMatMul.cs uses the same numbers
constexpr int WARP_ROWS = 64, WARP_OUTPUTS = 32;
constexpr int THREADS = 256;
constexpr int STEP = 64;  // k of a stage
constexpr int SIXTEENS = WARP_OUTPUTS / 16, EIGHTS = WARP_ROWS / 8;  // of outputs and rows: one operand each

using Sums = float[SIXTEENS][EIGHTS][4];

template <class T, class R, class Weights> struct WideMatMulArgs {  // mirrored by WideMatMulArgs in C#
    const T* x;
    Weights weights;
    Epilogue<T, R> epilogue;
    LaneSums lane_sums;
    int x_stride;
    int padding;
};

KF_INLINE void clear(Sums& sums) {
#pragma unroll
    for (int i = 0; i < SIXTEENS * EIGHTS * 4; i++) sums[i / (EIGHTS * 4)][i / 4 % EIGHTS][i % 4] = 0.0f;
}

// Adds sums to totals and clears them.
KF_INLINE void add_and_clear(Sums& totals, Sums& sums) {
#pragma unroll
    for (int i = 0; i < SIXTEENS * EIGHTS * 4; i++) {
        float& total = totals[i / (EIGHTS * 4)][i / 4 % EIGHTS][i % 4];
        total = __fadd_rn(total, sums[i / (EIGHTS * 4)][i / 4 % EIGHTS][i % 4]);
    }
    clear(sums);
}

// Starts the copy of 64 k of 128 rows of a matrix; zeros behind k. Behind the last row it is copied again: what comes of that is not written.
template <class T> KF_INLINE void copy_tile(T* tile, const T* matrix, int stride, int first, int rows, int first_k, int k) {
    constexpr int VECTORS = STEP / 8, ROWS_AT_ONCE = THREADS / VECTORS;  // a multiple of 8: rows that far apart have their vectors in the same order
    int row = threadIdx.x / VECTORS, vector = threadIdx.x % VECTORS, column = first_k + vector * 8, row_bytes = stride * (int)sizeof(T);
    bool aligned = rows_are_aligned(matrix, stride);
    T* destination = tile + tile_offset<STEP>(row, vector);
    const char* source = reinterpret_cast<const char*>(matrix + (column < k ? column : 0));
    auto of_row = [&](int i) { return reinterpret_cast<const T*>(source + (long long)min(first + row + i, rows - 1) * row_bytes); };
    if (aligned && first_k + STEP <= k) {
#pragma unroll
        for (int i = 0; i < 128; i += ROWS_AT_ONCE) cp_async_16(shared_address(destination + i * STEP), of_row(i));
    } else {
#pragma unroll 1
        for (int i = 0; i < 128; i += ROWS_AT_ONCE) copy_vector(destination + i * STEP, of_row(i), k - column, aligned);
    }
}

// Adds the products of 16 k of the warp's outputs and rows.
template <class T> KF_INLINE void multiply(Sums& sums, const uint32_t (&a)[SIXTEENS][4], const T* x, int first_row, int step) {
#pragma unroll
    for (int eight = 0; eight < EIGHTS; eight += 2) {
        uint32_t b[4];
        load_b<STEP>(b, x + eight * 8 * STEP, first_row, step);
#pragma unroll
        for (int i = 0; i < SIXTEENS; i++) {
            mma_m16n8k16<T>(sums[i][eight], a[i], b[0], b[1]);
            mma_m16n8k16<T>(sums[i][eight + 1], a[i], b[2], b[3]);
        }
    }
}

// ---- dense weights ----

template <class T> struct DenseStage {
    T x[BLOCK_ROWS * STEP];
    T weights[BLOCK_OUTPUTS * STEP];
};

struct DenseState {
    Sums sums, totals;  // of the lane; of all before it
};

template <class T> KF_INLINE void copy_weights(DenseStage<T>& stage, const DenseWeights<T>& weights, int first_output, int first_k) {
    copy_tile(stage.weights, weights.rows, weights.stride, first_output, weights.columns, first_k, weights.k);
}

template <class T>
KF_INLINE void multiply_stage(DenseState& state, const DenseStage<T>& stage, const DenseWeights<T>&, int, int first_output, int first_row) {
#pragma unroll
    for (int step = 0; step < STEP / 16; step++) {
        uint32_t a[SIXTEENS][4];
#pragma unroll
        for (int i = 0; i < SIXTEENS; i++) load_a<STEP>(a[i], stage.weights, first_output + 16 * i, step);
        multiply(state.sums, a, stage.x, first_row, step);
    }
}

template <class T> KF_INLINE void finish_lane(DenseState& state, const DenseStage<T>&, const DenseWeights<T>&, int) {
    add_and_clear(state.totals, state.sums);
}

// ---- packed weights ----

constexpr int HALF = 32;  // k that have one scale at least

template <class T, int BITS> struct PackedStage {
    T x[BLOCK_ROWS * STEP];
    uint4 codes[BLOCK_OUTPUTS / 16][PACKED_VECTORS<BITS> / 2][WARP];
    float scales[STEP / HALF][BLOCK_OUTPUTS];
    uint8_t zeros[STEP / HALF][BLOCK_OUTPUTS];
};

struct PackedState {
    Sums sums, lane, totals;  // of the group, in units of its scale; of the lane; of all before it
};

KF_INLINE bool is_group_end(const PackedWeights& weights, int k) { return (k & (1u << group_shift(weights)) - 1) == 0; }

// Starts the copy of 64 k of a tile's codes, and of their scales and zero points.
template <class T, int BITS> KF_INLINE void copy_weights(PackedStage<T, BITS>& stage, const PackedWeights& weights, int first_output, int first_k) {
    constexpr int VECTORS = PACKED_VECTORS<BITS> / 2;  // of a stage; a block has two such halves
    int tile = first_output / PACKED_TILE, sixteen = warp_id(), half = warp_id();
    const uint4* codes = block_codes<BITS>(weights, tile, first_k / PACKED_TILE) + (2 * sixteen + first_k / STEP % 2) * VECTORS * WARP + lane_id();
#pragma unroll
    for (int vector = 0; vector < VECTORS; vector++) cp_async_16(shared_address(&stage.codes[sixteen][vector][lane_id()]), codes + vector * WARP);

    if (half < STEP / HALF) {
        size_t first = scale_index(weights, tile, first_k + half * HALF >> group_shift(weights));
        cp_async_16(shared_address(&stage.scales[half][lane_id() * 4]), weights.scales + first + lane_id() * 4);
        if (weights.zeros && lane_id() < PACKED_TILE / 16) cp_async_16(shared_address(&stage.zeros[half][lane_id() * 16]), weights.zeros + first + lane_id() * 16);
    }
}

// lane += scale * sums, for each output; clears the sums.
template <class T, int BITS> KF_INLINE void finish_group(PackedState& state, const PackedStage<T, BITS>& stage, int half, int first_output) {
#pragma unroll
    for (int i = 0; i < SIXTEENS * 2; i++) {
        float scale = stage.scales[half][first_output + 8 * i + lane_id() / 4];
#pragma unroll
        for (int j = 0; j < EIGHTS * 2; j++) {
            float& total = state.lane[i / 2][j / 2][i % 2 * 2 + j % 2];
            total = __fmaf_rn(scale, state.sums[i / 2][j / 2][i % 2 * 2 + j % 2], total);
        }
    }
    clear(state.sums);
}

template <class T, int BITS>
KF_INLINE void multiply_stage(
    PackedState& state, const PackedStage<T, BITS>& stage, const PackedWeights& weights, int first_k, int first_output, int first_row) {
    uint4 codes[SIXTEENS];
    uint32_t offsets[SIXTEENS][2];
#pragma unroll
    for (int i = 0; i < SIXTEENS * 2; i++) offsets[i / 2][i % 2] = zero_offset<T, BITS>(BITS == 4 ? 8 : 128, i % 2);
#pragma unroll
    for (int step = 0; step < STEP / 16; step++) {
        int half = step / 2;
        if (step % PACKED_STEPS<BITS> == 0) {
#pragma unroll
            for (int i = 0; i < SIXTEENS; i++) codes[i] = stage.codes[first_output / 16 + i][step / PACKED_STEPS<BITS>][lane_id()];
        }
        if (step % 2 == 0 && weights.zeros) {
#pragma unroll
            for (int i = 0; i < SIXTEENS * 2; i++)
                offsets[i / 2][i % 2] = zero_offset<T, BITS>(stage.zeros[half][first_output + 8 * i + lane_id() / 4], i % 2);
        }
        uint32_t a[SIXTEENS][4];
#pragma unroll
        for (int i = 0; i < SIXTEENS; i++) dequantize<T, BITS>(a[i], codes[i], step % PACKED_STEPS<BITS>, offsets[i]);
        multiply(state.sums, a, stage.x, first_row, step);
        if (step % 2 == 1 && is_group_end(weights, first_k + half * HALF + HALF)) finish_group(state, stage, half, first_output);
    }
}

template <class T, int BITS> KF_INLINE void finish_lane(PackedState& state, const PackedStage<T, BITS>& stage, const PackedWeights& weights, int first_output) {
    if (weights.group_size == 0) finish_group(state, stage, 0, first_output);
    add_and_clear(state.totals, state.lane);
}

// ---- the product ----

template <class Stage, class State, int STAGES, class T, class R, class Weights> KF_INLINE void wide_matmul(const WideMatMulArgs<T, R, Weights>& args) {
    extern __shared__ int4 memory[];
    Stage* ring = reinterpret_cast<Stage*>(memory);
    const Weights& weights = args.weights;
    TileNumbers tile = find_tile(ceil_div(weights.columns, BLOCK_OUTPUTS), ceil_div(args.epilogue.rows, BLOCK_ROWS));
    int first_row = tile.rows * BLOCK_ROWS, first_output = tile.outputs * BLOCK_OUTPUTS;
    int warp_row = warp_id() / 4 * WARP_ROWS, warp_output = warp_id() % 4 * WARP_OUTPUTS;
    bool has_work = first_row + warp_row < args.epilogue.rows && first_output + warp_output < weights.columns;
    bool one_lane = gridDim.y > 1;
    int first_k = one_lane ? blockIdx.y * weights.lane_length : 0, end = one_lane ? min(first_k + weights.lane_length, weights.k) : weights.k;

    auto copy = [&](int stage, int first_k) {
        if (first_k < end) {
            copy_tile(ring[stage].x, args.x, args.x_stride, first_row, args.epilogue.rows, first_k, weights.k);
            copy_weights(ring[stage], weights, first_output, first_k);
        }
        cp_async_commit();
    };
    auto before = [](int stage) { return stage == 0 ? STAGES - 1 : stage - 1; };
    for (int stage = 0; stage < STAGES - 1; stage++) copy(stage, first_k + stage * STEP);

    State state = {};
    int stage = 0;
    while (first_k < end) {
        int lane_end = min(first_k + weights.lane_length, end);
        for (; first_k < lane_end; first_k += STEP) {
            cp_async_wait<STAGES - 2>();
            __syncthreads();  // the stage is there; every warp is done with the one before, which may be filled again
            copy(before(stage), first_k + (STAGES - 1) * STEP);
            if (has_work) multiply_stage(state, ring[stage], weights, first_k, warp_output, warp_row);
            stage = stage == STAGES - 1 ? 0 : stage + 1;
        }
        finish_lane(state, ring[before(stage)], weights, warp_output);
    }

    if (one_lane && !add_lanes<THREADS>(state.totals, args.lane_sums, blockIdx.x, blockIdx.y, gridDim.y, has_work ? EIGHTS : 0)) return;

    cp_async_wait<0>();
    __syncthreads();  // every warp is done with the ring
    auto& result = *reinterpret_cast<ResultTile<BLOCK_ROWS, BLOCK_OUTPUTS>*>(memory);
    static_assert(sizeof(result) <= STAGES * sizeof(Stage));
    if (has_work) {
#pragma unroll
        for (int i = 0; i < SIXTEENS * EIGHTS; i++) result.put(state.totals[i / EIGHTS][i % EIGHTS], warp_row + i % EIGHTS * 8, warp_output + i / EIGHTS * 16);
    }
    __syncthreads();  // the totals are there
    result.write<THREADS>(args.epilogue, first_row, first_output, threadIdx.x);
}

template <class T, class R> KF_INLINE void wide_matmul_dense(const WideMatMulArgs<T, R, DenseWeights<T>>& args) {
    wide_matmul<DenseStage<T>, DenseState, 3>(args);
}

template <int BITS, class T, class R> KF_INLINE void wide_matmul_packed(const WideMatMulArgs<T, R, PackedWeights>& args) {
    wide_matmul<PackedStage<T, BITS>, PackedState, BITS == 4 ? 4 : 3>(args);
}

#define KF_WIDE_MATMUL(name, T, R)                                                                                                                            \
    extern "C" __global__ void __launch_bounds__(THREADS) wide_matmul_##name##_dense(const __grid_constant__ WideMatMulArgs<T, R, DenseWeights<T>> args) {    \
        wide_matmul_dense(args);                                                                                                                              \
    }                                                                                                                                                         \
    extern "C" __global__ void __launch_bounds__(THREADS) wide_matmul_##name##_w4(const __grid_constant__ WideMatMulArgs<T, R, PackedWeights> args) {         \
        wide_matmul_packed<4>(args);                                                                                                                          \
    }                                                                                                                                                         \
    extern "C" __global__ void __launch_bounds__(THREADS) wide_matmul_##name##_w8(const __grid_constant__ WideMatMulArgs<T, R, PackedWeights> args) {         \
        wide_matmul_packed<8>(args);                                                                                                                          \
    }

KF_WIDE_MATMUL(f16, half, half)
KF_WIDE_MATMUL(bf16, bf16, bf16)
KF_WIDE_MATMUL(f16_f32, half, float)
KF_WIDE_MATMUL(bf16_f32, bf16, float)
