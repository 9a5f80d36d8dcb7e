// wide_matmul_wgmma.cu - products of many rows on sm_90a: warpgroup products, with weights dense or packed.
//
// Why      From some 70 rows on a product with 4-bit weights is compute bound (dense: 270), and mma.sync reaches only three fifths of what Hopper's tensor
//          cores can do. Same canon and hence the same bits as every other kernel; this one only moves the operands in another way. Packed weights go
//          through registers, where they are dequantised, as operand A; MARLIN, arXiv:2408.11743, and Machete do so too.
//
// Math     native/README.md, "Products"; of packed weights kf/packed_weights.cuh. Then kf/epilogue.cuh.
//
// Shapes   x        [rows, k]      T, as a tensor map: rows at multiples of 16 bytes
//          weights  [outputs, k]   T, as a tensor map; or packed
//          result   [rows, columns]; R = T or float; columns = outputs, half of them where gated
//
// Tiling   A block computes 128 outputs of 128 rows. The first warpgroup copies stages; each of the two others has 64 outputs of all rows: weights are
//          operand A, x is operand B in shared memory.
//
//            stage     128 k: x 32 KB as two swizzled runs of 64 k | codes 8 or 16 KB, scales, zero points. Dense, 64 k: x and weights 16 KB each, swizzled
//            consumer  dequantise(0) | products(0) started | dequantise(1) while they run | fold(0) | products(1) started | dequantise(2) ...
//
//          A part, numbered here, is the steps of 16 k whose codes a lane has in 16 bytes (4 of 4 bits, 2 of 8 bits), or those of a smaller group: up to 16
//          registers of operand A, two sets in turn. Sums of the group, total of the lane of k and total of the lanes before are 64 registers each. A block
//          walks the lanes of k (grid = tiles), or, where there are few tiles, each has one of them (grid = (tiles, lanes)) and the last block of a tile adds them:
//          kf/lane_sums.cuh. Blocks that run together share x and weights in L2 (find_tile).
//
// Limits   k > 0; x and dense weights start at multiples of 16 bytes, their rows are multiples of 16 bytes apart.
//
// Cost     2 * rows * outputs * k FLOP; reads 256 * k bytes of x and 64 * k (4 bits), 128 * k (8 bits) or 256 * k (dense) of weights per tile of 128 x 128.

#include "kf/kf.cuh"

constexpr int WARPGROUP = 128;  // threads
constexpr int CONSUMERS = 2;    // warpgroups that multiply
constexpr int THREADS = (1 + CONSUMERS) * WARPGROUP;
constexpr int TILE_ROWS = 128;     // of x and the result; CudaOperators.WideMatMulWgmma.cs uses the same numbers
constexpr int TILE_OUTPUTS = 128;  // of the product before gating
constexpr int CONSUMER_OUTPUTS = TILE_OUTPUTS / CONSUMERS;
constexpr int RUN = 64;            // k of a tensor copy: 128 bytes
constexpr int RUN_STEPS = RUN / 16;
constexpr int DENSE = 16;          // bits of weights that are not packed
template <int BITS> constexpr int STAGE_K = BITS == DENSE ? RUN : PACKED_TILE;

struct MappedWeights {  // mirrored by MappedWeightsArgs in C#
    TensorMap map;
    int columns, k, lane_length;
};

template <class T, class R, int BITS> struct WideMatMulWgmmaArgs {  // mirrored by WarpgroupMatMulArgs and DenseWarpgroupMatMulArgs in C#
    TensorMap x;
    std::conditional_t<BITS == DENSE, MappedWeights, PackedWeights> weights;
    Epilogue<T, R> epilogue;
    LaneSums lane_sums;
};

// A stage: 128 k of x and of packed weights, or 64 k of x and of dense weights. A run is rows of 128 bytes; vector v of row r is stored at v ^ (r % 8).
template <class T, int BITS> struct alignas(1024) Stage {
    static constexpr int MOST_GROUPS = PACKED_TILE / 32;
    T x[PACKED_TILE / RUN][TILE_ROWS][RUN];
    uint4 codes[PACKED_BLOCK_BYTES<BITS> / sizeof(uint4)];
    float scales[MOST_GROUPS][TILE_OUTPUTS];
    uint8_t zeros[MOST_GROUPS][TILE_OUTPUTS];
};

template <class T> struct alignas(1024) Stage<T, DENSE> {
    T x[1][TILE_ROWS][RUN];
    T weights[TILE_OUTPUTS][RUN];
};

// Dynamic shared memory of a block, at a multiple of 1024 bytes: a ring of stages; the producer waits for empty, the consumers for full.
template <class T, int BITS> struct Shared {
    static constexpr int STAGES = BITS == DENSE ? 6 : 4;
    Stage<T, BITS> stages[STAGES];
    uint64_t full[STAGES], empty[STAGES];
};

// Where the n-th stage of k lies in the ring, and the parity of its turn there.
template <class T, int BITS> struct Turn {
    int stage, parity;
    KF_INLINE explicit Turn(int n) : stage(n % Shared<T, BITS>::STAGES), parity(n / Shared<T, BITS>::STAGES % 2) {}
};

// ---- the k of a block

// Stages of k that a block walks: all, or those of its lane.
struct Span {
    int first, count;
};

template <int BITS> KF_INLINE Span find_span(int k, int lane_length) {
    int stages = ceil_div(k, STAGE_K<BITS>), stages_of_lane = lane_length / STAGE_K<BITS>, first = (int)blockIdx.y * stages_of_lane;
    return {first, gridDim.y == 1 ? stages : min(stages_of_lane, stages - first)};
}

// ---- producer: one thread

// Bytes of weights in a stage, and their copies.
KF_INLINE int weight_bytes(const MappedWeights&) { return TILE_OUTPUTS * RUN * 2; }

template <class T> KF_INLINE void copy_weights(Stage<T, DENSE>& stage, const MappedWeights& weights, uint64_t* full, int tile, int n) {
    tma_load_2d(stage.weights, &weights.map, full, n * RUN, tile * TILE_OUTPUTS);
}

// Groups whose scales a stage brings: those of its k, or the one of all k.
KF_INLINE int groups_of_stage(const PackedWeights& weights) { return weights.group_size ? PACKED_TILE / weights.group_size : 1; }

template <int BITS> KF_INLINE int weight_bytes(const PackedWeights& weights) {
    int scales = groups_of_stage(weights) * TILE_OUTPUTS;
    return PACKED_BLOCK_BYTES<BITS> + scales * (int)sizeof(float) + (weights.zeros ? scales : 0);
}

template <class T, int BITS> KF_INLINE void copy_weights(Stage<T, BITS>& stage, const PackedWeights& weights, uint64_t* full, int tile, int n) {
    int groups = groups_of_stage(weights), scales = groups * PACKED_TILE;
    size_t first = scale_index(weights, tile, weights.group_size ? n * groups : 0);
    bulk_load(stage.codes, block_codes<BITS>(weights, tile, n), sizeof(stage.codes), full);
    bulk_load(stage.scales, weights.scales + first, scales * (int)sizeof(float), full);
    if (weights.zeros) bulk_load(stage.zeros, weights.zeros + first, scales, full);
}

template <int BITS, class T, class R> KF_INLINE void produce(Shared<T, BITS>& shared, const WideMatMulWgmmaArgs<T, R, BITS>& args, TileNumbers tile, Span span) {
    int bytes = sizeof(shared.stages[0].x);
    if constexpr (BITS == DENSE) bytes += weight_bytes(args.weights);
    else bytes += weight_bytes<BITS>(args.weights);
    for (int n = 0; n < span.count; n++) {
        Turn<T, BITS> turn(n);
        auto& stage = shared.stages[turn.stage];
        uint64_t* full = &shared.full[turn.stage];
        mbarrier_wait(&shared.empty[turn.stage], turn.parity ^ 1);
        mbarrier_arrive_expect_tx(full, bytes);
#pragma unroll
        for (int run = 0; run < STAGE_K<BITS> / RUN; run++)
            tma_load_2d(stage.x[run], &args.x, full, (span.first + n) * STAGE_K<BITS> + run * RUN, tile.rows * TILE_ROWS);
        copy_weights(stage, args.weights, full, tile.outputs, span.first + n);
    }
}

// ---- consumers

using Sums = float[TILE_ROWS / 2];  // of a warp's 16 outputs: four for each 8 rows

// Adds a finished lane to the total of the lanes before it.
KF_INLINE void fold_lane(Sums& total, const Sums& lane) {
#pragma unroll
    for (int i = 0; i < TILE_ROWS / 2; i++) total[i] = __fadd_rn(total[i], lane[i]);
}

// Operand B of a step of 16 k of a stage.
template <class T, int BITS> KF_INLINE uint64_t x_descriptor(const Stage<T, BITS>& stage, int step) {
    return k_major_descriptor(stage.x[step / RUN_STEPS]) + step % RUN_STEPS * 16 * (int)sizeof(T) / 16;
}

// The n-th stage of k, once it is there.
template <class T, int BITS> KF_INLINE const Stage<T, BITS>& open_stage(Shared<T, BITS>& shared, int n) {
    Turn<T, BITS> turn(n);
    mbarrier_wait(&shared.full[turn.stage], turn.parity);
    return shared.stages[turn.stage];
}

// A warp has read the n-th stage.
template <class T, int BITS> KF_INLINE void release_stage(Shared<T, BITS>& shared, int n) {
    if (lane_id() == 0) mbarrier_arrive(&shared.empty[Turn<T, BITS>(n).stage]);
}

// Dense weights: both operands from shared memory, a lane of k in one chain. The products of a stage run while the next stage is opened.
template <class T> KF_INLINE void multiply(Sums& total, Shared<T, DENSE>& shared, const MappedWeights& weights, int stages, int consumer) {
    Sums products = {};
    int stages_of_lane = weights.lane_length / STAGE_K<DENSE>;
    for (int n = 0, left = stages_of_lane; n < stages; n++) {
        const auto& stage = open_stage(shared, n);
        wgmma_fence();
#pragma unroll
        for (int step = 0; step < RUN_STEPS; step++) {
            uint64_t a = k_major_descriptor(stage.weights[consumer * CONSUMER_OUTPUTS]) + step * 16 * (int)sizeof(T) / 16;
            wgmma_shared<T>(products, a, x_descriptor(stage, step), step > 0 || left < stages_of_lane);
        }
        wgmma_commit();
        wgmma_wait<1>();  // the stage before is read
        if (n > 0) release_stage(shared, n - 1);
        if (--left > 0 && n + 1 < stages) continue;
        wgmma_wait<0>();
        pin(products);
        fold_lane(total, products);
        pin(products);
        left = stages_of_lane;
    }
}

// Packed weights: a warp's 16 outputs of all rows. GROUP_STEPS are the steps of a group within a stage, 8 also where one group has all k.
template <class T, int BITS, int GROUP_STEPS> struct PackedWalk {
    static constexpr int PART = GROUP_STEPS < PACKED_STEPS<BITS> ? GROUP_STEPS : PACKED_STEPS<BITS>;  // steps: those of a vector of codes
    static constexpr int PARTS = PACKED_TILE / 16 / PART;

    Shared<T, BITS>& shared;
    const PackedWeights& weights;
    const int output;        // of the tile, this lane's first; the other one is 8 further on
    uint32_t a[2][PART][4];  // operands of two parts in turn
    Sums products, lane_total;

    // Operands of a part of a stage.
    KF_INLINE void dequantise(const Stage<T, BITS>& stage, int part) {
        constexpr int STEPS = PACKED_STEPS<BITS>;
        uint32_t offsets[2];
#pragma unroll
        for (int side = 0; side < 2; side++) {
            int zero = weights.zeros ? stage.zeros[part * PART / GROUP_STEPS][output + 8 * side] : 1 << (BITS - 1);
            offsets[side] = zero_offset<T, BITS>(zero, side);
        }
        uint4 codes = stage.codes[(output / 16 * PACKED_VECTORS<BITS> + part * PART / STEPS) * WARP + lane_id()];
#pragma unroll
        for (int step = 0; step < PART; step++) dequantize<T, BITS>(a[part % 2][step], codes, (part * PART + step) % STEPS, offsets);
    }

    // Starts the products of a part; goes_on: its first step adds to the sums that are there.
    KF_INLINE void start(const Stage<T, BITS>& stage, int part, bool goes_on) {
#pragma unroll
        for (int step = 0; step < PART; step++) pin(a[part % 2][step]);
        wgmma_fence();
#pragma unroll
        for (int step = 0; step < PART; step++)
            wgmma_registers_k_major<T>(products, a[part % 2][step], x_descriptor(stage, part * PART + step), step > 0 || goes_on);
        wgmma_commit();
    }

    // Adds a group whose products are done to the lane.
    KF_INLINE void fold_group(const float (&scales)[2]) {
        pin(products);
#pragma unroll
        for (int i = 0; i < TILE_ROWS / 2; i++) lane_total[i] = __fmaf_rn(scales[i / 2 % 2], products[i], lane_total[i]);
        pin(products);
    }

    KF_INLINE void run(Sums& total, int stages) {
        int stages_of_lane = weights.lane_length / PACKED_TILE;
        bool goes_on = false;  // the group began before this stage
        const auto* stage = &open_stage(shared, 0);
        dequantise(*stage, 0);
#pragma unroll
        for (int i = 0; i < TILE_ROWS / 2; i++) lane_total[i] = 0.0f;
        pin(products);
        for (int n = 0, left = stages_of_lane; n < stages; n++) {
            bool lane_ends = --left == 0 || n + 1 == stages, group_ends = weights.group_size || lane_ends;
            const auto* next = stage;
#pragma unroll
            for (int part = 0; part < PARTS; part++) {
                int group = part * PART / GROUP_STEPS;
                bool is_last_of_group = (part + 1) * PART % GROUP_STEPS == 0;
                start(*stage, part, part * PART % GROUP_STEPS > 0 || part == 0 && goes_on);
                float scales[2] = {stage->scales[group][output], stage->scales[group][output + 8]};
                if (part * PART % GROUP_STEPS > 0) wgmma_wait<1>();  // the part before has read its operands
                if (part + 1 < PARTS) {
                    dequantise(*stage, part + 1);
                } else if (n + 1 < stages) {
                    next = &open_stage(shared, n + 1);
                    dequantise(*next, 0);
                }
                if (!is_last_of_group) continue;
                wgmma_wait<0>();
                pin(products);
                if (part + 1 < PARTS || group_ends) fold_group(scales);
            }
            release_stage(shared, n);
            stage = next;
            goes_on = !group_ends;
            if (!lane_ends) continue;
            fold_lane(total, lane_total);
#pragma unroll
            for (int i = 0; i < TILE_ROWS / 2; i++) lane_total[i] = 0.0f;
            left = stages_of_lane;
        }
    }
};

template <class T, int BITS> KF_INLINE void multiply(Sums& total, Shared<T, BITS>& shared, const PackedWeights& weights, int stages, int consumer) {
    int output = consumer * CONSUMER_OUTPUTS + warp_id() % 4 * 16 + lane_id() / 4;
    if (weights.group_size == 32) PackedWalk<T, BITS, 2>{shared, weights, output}.run(total, stages);
    else if (weights.group_size == 64) PackedWalk<T, BITS, 4>{shared, weights, output}.run(total, stages);
    else PackedWalk<T, BITS, 8>{shared, weights, output}.run(total, stages);
}

// The barrier of all consumers.
struct ConsumerBarrier {
    KF_INLINE void operator()() const { named_barrier_sync(1, CONSUMERS * WARPGROUP); }
};

// Where the lanes of a tile have a block each: whether this one came last and has the totals of all.
KF_INLINE bool add_lanes(Sums& total, const LaneSums& sums, int rows) {
    auto& fragments = reinterpret_cast<float(&)[1][TILE_ROWS / 8][4]>(total);
    return kf::add_lanes<CONSUMERS * WARPGROUP>(
        fragments, sums, blockIdx.x, blockIdx.y, gridDim.y, ceil_div(rows, 8), threadIdx.x - WARPGROUP, ConsumerBarrier());
}

// A consumer's totals become its part of the result.
template <class T, class R, int BITS>
KF_INLINE void write_result(const Sums& total, Shared<T, BITS>& shared, const Epilogue<T, R>& epilogue, TileNumbers tile, int consumer) {
    using Part = ResultTile<TILE_ROWS, CONSUMER_OUTPUTS>;
    static_assert(CONSUMERS * sizeof(Part) <= sizeof(shared.stages));
    Part& part = reinterpret_cast<Part*>(shared.stages)[consumer];
    ConsumerBarrier()();  // all products are done: no stage is read any more
    part.put(total, 0, warp_id() % 4 * 16);
    named_barrier_sync(2 + consumer, WARPGROUP);  // the totals of the warpgroup are there
    part.template write<WARPGROUP>(epilogue, tile.rows * TILE_ROWS, tile.outputs * TILE_OUTPUTS + consumer * CONSUMER_OUTPUTS, threadIdx.x % WARPGROUP);
}

// ---- the block

template <class T, int BITS> KF_INLINE void start_barriers(Shared<T, BITS>& shared) {
    for (int i = 0; i < Shared<T, BITS>::STAGES; i++) {
        mbarrier_init(&shared.full[i], 1);
        mbarrier_init(&shared.empty[i], CONSUMERS * WARPGROUP / WARP);
    }
    fence_mbarrier_init();
}

template <class T, class R, int BITS> KF_INLINE void wide_matmul(const WideMatMulWgmmaArgs<T, R, BITS>& args) {
    extern __shared__ __align__(1024) unsigned char memory[];
    auto& shared = *reinterpret_cast<Shared<T, BITS>*>(memory);
    TileNumbers tile = find_tile(ceil_div(args.weights.columns, TILE_OUTPUTS), ceil_div(args.epilogue.rows, TILE_ROWS));
    Span span = find_span<BITS>(args.weights.k, args.weights.lane_length);
    if (threadIdx.x == 0) start_barriers(shared);
    __syncthreads();  // the barriers are there

    int consumer = (int)threadIdx.x / WARPGROUP - 1;
    if (consumer < 0) {
        setmaxnreg_decrease<24>();
        if (threadIdx.x == 0) produce<BITS>(shared, args, tile, span);
    } else {
        setmaxnreg_increase<240>();
        Sums total = {};
        multiply<T>(total, shared, args.weights, span.count, consumer);
        if (gridDim.y > 1 && !add_lanes(total, args.lane_sums, args.epilogue.rows - tile.rows * TILE_ROWS)) return;
        write_result(total, shared, args.epilogue, tile, consumer);
    }
}

#define KF_ENTRY(type, result, name, weights, bits)                           \
    extern "C" __global__ void __launch_bounds__(THREADS, 1) wide_matmul_wgmma_##name##_##weights( \
        const __grid_constant__ WideMatMulWgmmaArgs<type, result, bits> args) { wide_matmul(args); }

KF_ENTRY(half, half, f16, dense, DENSE)
KF_ENTRY(half, float, f16, f32_dense, DENSE)
KF_ENTRY(half, half, f16, w4, 4)
KF_ENTRY(half, float, f16, f32_w4, 4)
KF_ENTRY(half, half, f16, w8, 8)
KF_ENTRY(half, float, f16, f32_w8, 8)
KF_ENTRY(bf16, bf16, bf16, dense, DENSE)
KF_ENTRY(bf16, float, bf16, f32_dense, DENSE)
KF_ENTRY(bf16, bf16, bf16, w4, 4)
KF_ENTRY(bf16, float, bf16, f32_w4, 4)
KF_ENTRY(bf16, bf16, bf16, w8, 8)
KF_ENTRY(bf16, float, bf16, f32_w8, 8)
