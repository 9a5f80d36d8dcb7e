// wide_attention_wgmma.cu - wide items of an attention plan on sm_90a: warpgroup products straight from shared memory, which copies of tiles fill.
//
// Why      A shared prefix is compute bound from some 270 rows of a key/value head on, and mma.sync reaches only three fifths of what Hopper's tensor cores
//          can do. Same items, same canon and hence the same bits as wide_attention.cu; this kernel only moves the operands in another way.
//          Order of work: FlashAttention-3, arXiv:2407.08608.
//
// Math     native/README.md, "Attention"; kf/attention_items.cuh says what an item asks for.
//
// Shapes   those of AttentionItemArgs, and keys and values besides as tensor maps
//            [block][kv head][position in block][head_dim], box 1 x 1 x min(block size, TILE) positions x 64 elements, 128-byte swizzle
//
// Tiling   A block does one item for one key/value head: grid = (items, kv_heads). The first warpgroup copies, 64 rows each of the others compute:
//
//            producer  keys(0) values(0) keys(1) values(1) keys(2) ...        as stages become empty, two of each
//            consumer  S(0) | softmax(0) | S(1), PV(0) started | softmax(1) while PV(0) runs | scale or fold | S(2), PV(1) started | ...
//
//          Queries stay in shared memory, p in registers. The total of finished splits is in shared memory, each thread's own. A tile in shared memory is runs
//          of 64 columns, position by position; vector v of position p is stored at v ^ (p % 8). With HEAD_DIM 256 one warpgroup computes, one step after
//          the other, from one stage each: registers and shared memory hold no more.
//
// Limits   head_dim <= HEAD_DIM, a multiple of 8; block size 8, 16, 32, 64 or a multiple of 128. The cache may hold anything
//          behind an item's end. Rows of queries, keys and values at multiples of 16 bytes; scale > 0.
//
// Cost     4 * head_dim FLOP per row and position; reads 4 * head_dim bytes per position and item.

#include "kf/kf.cuh"

constexpr int WARPGROUP = 128;  // threads
constexpr int ROWS = 64;        // of a warpgroup
constexpr int RUN = 64;         // columns of a copy: 128 bytes

template <class T> struct WideAttentionWgmmaArgs {  // mirrored by WideAttentionWgmmaArgs in C#
    TensorMap keys, values;
    WideAttentionArgs<T> items;
};

// Sizes of an instantiation. CudaOperators.WideAttentionWgmma.cs uses the same numbers.
template <int HEAD_DIM> struct Sizes {
    static constexpr int CONSUMERS = HEAD_DIM <= 128 ? 2 : 1;  // warpgroups that compute
    static constexpr int THREADS = (1 + CONSUMERS) * WARPGROUP;
    static constexpr int STAGES = HEAD_DIM <= 128 ? 2 : 1;
    static constexpr bool OVERLAP = HEAD_DIM <= 128;  // registers hold scores and p of two tiles
    static constexpr int RUNS = ceil_div(HEAD_DIM, RUN);
};

// Keys or values of a tile, or a warpgroup's queries.
template <class T, int HEAD_DIM, int POSITIONS> using Tile = T[Sizes<HEAD_DIM>::RUNS][POSITIONS][RUN];

// A ring of tiles: the producer waits for empty, the consumers for full. The producer alone waits for tail, before it writes zeros behind the last tile's end.
template <int HEAD_DIM> struct Ring {
    uint64_t full[Sizes<HEAD_DIM>::STAGES], empty[Sizes<HEAD_DIM>::STAGES], tail;
};

// Dynamic shared memory of a block, at a multiple of 1024 bytes.
template <class T, int HEAD_DIM> struct Shared {
    static constexpr int STAGES = Sizes<HEAD_DIM>::STAGES, CONSUMERS = Sizes<HEAD_DIM>::CONSUMERS;
    Tile<T, HEAD_DIM, ROWS> queries[CONSUMERS];
    Tile<T, HEAD_DIM, TILE> keys[STAGES], values[STAGES];
    float totals[HEAD_DIM / 2][CONSUMERS * WARPGROUP];
    Ring<HEAD_DIM> key_ring, value_ring;
    AttentionItem item;  // here, since registers are scarce
};

// Where the n-th tile of an item waits, and the parity of its turn there.
template <int HEAD_DIM> struct Turn {
    int stage, parity;
    KF_INLINE explicit Turn(int n) : stage(n % Sizes<HEAD_DIM>::STAGES), parity(n / Sizes<HEAD_DIM>::STAGES % 2) {}
};

// ---- producer

// A lane's part of a tile: the positions of one box.
struct Box {
    bool there;            // in the tile
    int offset;            // of its first position in the tile
    int position, block;   // in the cache; behind the end a position that no block has, of which copies make zeros
};

template <class T> KF_INLINE Box find_box(const AttentionItemArgs<T>& args, const AttentionItem& item, int first) {
    int offset = lane_id() * min(args.block_size, TILE), index = (first + offset) / args.block_size;
    Box box{offset < TILE, offset, args.block_size, 0};
    if (box.there && first + offset < item.end) {
        box.position = first + offset - index * args.block_size;
        box.block = args.block_tables ? args.block_tables[item.table + index] : index;
    }
    return box;
}

// Starts the copies of a tile, whose bytes the barrier expects and counts.
template <class T, int HEAD_DIM> KF_INLINE void copy_tile(Tile<T, HEAD_DIM, TILE>& tile, const TensorMap& map, uint64_t* barrier, const Box& box) {
    if (lane_id() == 0) mbarrier_arrive_expect_tx(barrier, sizeof(tile));
    __syncwarp();  // the barrier expects the bytes before the first of them comes
    if (!box.there) return;
#pragma unroll
    for (int run = 0; run < Sizes<HEAD_DIM>::RUNS; run++) tma_load_4d(tile[run][box.offset], &map, barrier, run * RUN, box.position, blockIdx.y, box.block);
}

// Zeros behind the first positions of a tile.
template <class T, int HEAD_DIM> KF_INLINE void zero_positions(Tile<T, HEAD_DIM, TILE>& tile, int first) {
    constexpr int VECTORS = RUN / 8;
#pragma unroll
    for (int run = 0; run < Sizes<HEAD_DIM>::RUNS; run++) {
        for (int i = first * VECTORS + lane_id(); i < TILE * VECTORS; i += WARP) store_16(tile[run][0] + i * 8, Vector<T>());
    }
}

// Brings the last tile of an item that ends within it. What the cache holds behind the end may be anything, also NaN, which a weight of 0 does not take away.
template <class T, int HEAD_DIM>
KF_INLINE void copy_tail(Tile<T, HEAD_DIM, TILE>& tile, const TensorMap& map, uint64_t* full, uint64_t* tail, const Box& box, int positions) {
    copy_tile<T, HEAD_DIM>(tile, map, tail, box);
    mbarrier_wait(tail, 0);
    zero_positions<T, HEAD_DIM>(tile, positions);
    fence_proxy_async();
    __syncwarp();  // the zeros of all lanes are there
    if (lane_id() == 0) mbarrier_arrive(full);
}

// Brings the tiles of an item, keys before values. A warp.
template <int HEAD_DIM, class T> KF_INLINE void produce(Shared<T, HEAD_DIM>& shared, const WideAttentionWgmmaArgs<T>& args, const AttentionItem& item) {
    for (int first = first_tile(args.items.plan, item), n = 0; first < item.end; first += TILE, n++) {
        Turn<HEAD_DIM> turn(n);
        Box box = find_box(args.items.plan, item, first);
        int positions = item.end - first;
        auto bring = [&](auto& tiles, const TensorMap& map, Ring<HEAD_DIM>& ring) {
            mbarrier_wait(&ring.empty[turn.stage], turn.parity ^ 1);
            if (positions >= TILE) copy_tile<T, HEAD_DIM>(tiles[turn.stage], map, &ring.full[turn.stage], box);
            else copy_tail<T, HEAD_DIM>(tiles[turn.stage], map, &ring.full[turn.stage], &ring.tail, box, positions);
        };
        bring(shared.keys, args.keys, shared.key_ring);
        bring(shared.values, args.values, shared.value_ring);
    }
}

// ---- consumers

// A warpgroup's rows; zeros behind them and behind head_dim.
template <int HEAD_DIM, class T>
KF_INLINE void load_queries(Tile<T, HEAD_DIM, ROWS>& queries, const AttentionItemArgs<T>& args, const AttentionItem& item, int warpgroup) {
    constexpr int VECTORS_OF_RUN = RUN / 8, VECTORS = Sizes<HEAD_DIM>::RUNS * VECTORS_OF_RUN;
    for (int i = threadIdx.x % WARPGROUP; i < ROWS * VECTORS; i += WARPGROUP) {
        int row = i / VECTORS, vector = i % VECTORS, plan_row = item.first_row + warpgroup * ROWS + row;
        bool there = has_row(item, plan_row) && vector * 8 < args.head_dim;
        const T* source = args.queries;
        if (there) source += (size_t)token_of(args, plan_row) * args.queries_stride + column_of(args, plan_row, blockIdx.y) + vector * 8;
        cp_async_16(shared_address(&queries[vector / VECTORS_OF_RUN][row][(vector % VECTORS_OF_RUN ^ row % 8) * 8]), source, there ? 16 : 0);
    }
    cp_async_commit();
    cp_async_wait<0>();
    fence_proxy_async();
    named_barrier_sync(1 + warpgroup, WARPGROUP);  // the queries of the warpgroup are there
}

// Starts S = Q * K of a tile.
template <class T, int HEAD_DIM> KF_INLINE void start_scores(Scores& scores, const Tile<T, HEAD_DIM, ROWS>& queries, const Tile<T, HEAD_DIM, TILE>& keys) {
#pragma unroll
    for (int step = 0; step < HEAD_DIM / 16; step++) {
        int run = step * 16 / RUN, offset = step * 16 % RUN * (int)sizeof(T) >> 4;
        wgmma_shared<T>(reinterpret_cast<float(&)[TILE / 2]>(scores), k_major_descriptor(queries[run]) + offset, k_major_descriptor(keys[run]) + offset, step > 0);
    }
    wgmma_commit();
}

// p of a tile as operands A.
using Weights = uint32_t[TILE / 16][4];

// Starts O += P * V of a tile.
template <class T, int HEAD_DIM>
KF_INLINE void start_output(float (&output)[HEAD_DIM / 8][4], const Weights& weights, const Tile<T, HEAD_DIM, TILE>& values) {
    uint64_t descriptor = mn_major_descriptor(values, sizeof(values[0]));
#pragma unroll
    for (int step = 0; step < TILE / 16; step++) {
        int offset = step * 16 * RUN * (int)sizeof(T) >> 4;
        wgmma_registers<T>(reinterpret_cast<float(&)[HEAD_DIM / 2]>(output), weights[step], descriptor + offset, true);
    }
    wgmma_commit();
}

// A warp has read a tile.
KF_INLINE void release(uint64_t* empty) {
    if (lane_id() == 0) mbarrier_arrive(empty);
}

template <int GROUPS> KF_INLINE void pin_sums(float (&sums)[GROUPS][4]) { pin(reinterpret_cast<float(&)[GROUPS * 4]>(sums)); }

// The rows of a warpgroup over the tiles of an item.
template <int HEAD_DIM, class T> struct Consumer {
    using Total = SharedOutput<HEAD_DIM, Sizes<HEAD_DIM>::CONSUMERS * WARPGROUP>;

    Shared<T, HEAD_DIM>& shared;
    const AttentionItemArgs<T>& args;
    const AttentionItem& item;
    const int warpgroup, warp_row;
    SoftmaxState<HEAD_DIM> state;
    SoftmaxTotal total;
    Total output;
    Scores scores;
    Weights weights;

    KF_INLINE Consumer(Shared<T, HEAD_DIM>& shared, const AttentionItemArgs<T>& args, const AttentionItem& item, int warpgroup)
        : shared(shared), args(args), item(item), warpgroup(warpgroup), warp_row(warpgroup * ROWS + warp_id() % 4 * 16),
          output{&shared.totals[0][threadIdx.x - WARPGROUP]} {}

    KF_INLINE void run() {
        load_queries<HEAD_DIM>(shared.queries[warpgroup], args, item, warpgroup);
        fold_records<HEAD_DIM>(total, output, args, item, blockIdx.y, warp_row);
        load_carry(state, args, item, blockIdx.y, warp_row);
        if constexpr (Sizes<HEAD_DIM>::OVERLAP) walk_overlapped();
        else walk_in_turn();
        if (item.carry_out != NO_SLOT) store_carry(state, args, item, blockIdx.y, warp_row);
        else fold_state(total, output, state, args.scoring.scale);
        if (item.record_out != NO_SLOT) store_record<HEAD_DIM>(total, output, args, item, blockIdx.y, warp_row);
        else if (item.carry_out == NO_SLOT) write_result<HEAD_DIM>(total, output, args, item, blockIdx.y, warp_row);
    }

    // The softmax of a tile runs beside the products of the values before it.
    KF_INLINE void walk_overlapped() {
        int first = first_tile(args, item), n = 0;
        if (first >= item.end) return;
        open_scores(n);
        wgmma_wait<0>();
        mask(first, n);
        add_scores(state, scores, args.scoring.scale);
        pack();
        for (first += TILE; first < item.end; first += TILE, n++) {
            open_scores(n + 1);
            open_output(n);
            wgmma_wait<1>();
            mask(first, n + 1);
            weigh_beside_output(first, n);
            pack();
        }
        open_output(n);
        close_output(n);
    }

    // One after the other, for want of registers.
    KF_INLINE void walk_in_turn() {
        int start = first_tile(args, item);
        for (int first = start, n = 0; first < item.end; first += TILE, n++) {
            if (first > start && first % SPLIT == 0) fold();
            open_scores(n);
            wgmma_wait<0>();
            mask(first, n);
            add_scores(state, scores, args.scoring.scale);
            pack();
            open_output(n);
            close_output(n);
        }
    }

    KF_INLINE void fold() {
        fold_state(total, output, state, args.scoring.scale);
        state.start();
    }

    KF_INLINE void open_scores(int n) {
        Turn<HEAD_DIM> turn(n);
        mbarrier_wait(&shared.key_ring.full[turn.stage], turn.parity);
        pin_sums(scores);
        pin_sums(state.output);
        wgmma_fence();
        start_scores<T, HEAD_DIM>(scores, shared.queries[warpgroup], shared.keys[turn.stage]);
    }

    KF_INLINE void open_output(int n) {
        Turn<HEAD_DIM> turn(n);
        mbarrier_wait(&shared.value_ring.full[turn.stage], turn.parity);
        wgmma_fence();
        start_output<T, HEAD_DIM>(state.output, weights, shared.values[turn.stage]);
    }

    KF_INLINE void close_output(int n) {
        wgmma_wait<0>();
        pin_sums(state.output);
        release(&shared.value_ring.empty[Turn<HEAD_DIM>(n).stage]);
    }

    // What the n-th tile's scores, which are there, become before the softmax.
    KF_INLINE void mask(int first, int n) {
        pin_sums(scores);
        release(&shared.key_ring.empty[Turn<HEAD_DIM>(n).stage]);
        if (args.scoring.cap != 0.0f) cap_scores(scores, args.scoring);
        if (!needs_mask(args, item, first)) return;
        Visible visible[2] = {visible_in(args, item, warp_row, 0), visible_in(args, item, warp_row, 1)};
        mask_scores(scores, first, visible);
    }

    // add_scores while the products of the n-th tile's values run. Where a split ends with that tile it is folded.
    KF_INLINE void weigh_beside_output(int first, int n) {
        bool is_new_split = first % SPLIT == 0;
        float max[2], sum[2], factor[2];
#pragma unroll
        for (int side = 0; side < 2; side++) {
            max[side] = is_new_split ? -INFINITY : state.max[side];
            sum[side] = is_new_split ? 0.0f : state.sum[side];
            factor[side] = weigh_scores(max[side], sum[side], scores, side, args.scoring.scale);
        }
        close_output(n);
        if (is_new_split) fold();
#pragma unroll
        for (int side = 0; side < 2; side++) {
            if (!is_new_split) scale_output(state.output, side, factor[side]);
            state.max[side] = max[side];
            state.sum[side] = sum[side];
        }
    }

    // Scores have become p: operands A of the output.
    KF_INLINE void pack() {
#pragma unroll
        for (int step = 0; step < TILE / 16; step++) pack_weights<T>(weights[step], scores, step);
#pragma unroll
        for (int step = 0; step < TILE / 16; step++) pin(weights[step]);
    }
};

// ---- the block

template <int HEAD_DIM, class T> KF_INLINE void start_barriers(Shared<T, HEAD_DIM>& shared, int warps) {
    for (int i = 0; i < Sizes<HEAD_DIM>::STAGES; i++) {
        mbarrier_init(&shared.key_ring.full[i], 1);
        mbarrier_init(&shared.value_ring.full[i], 1);
        mbarrier_init(&shared.key_ring.empty[i], warps);
        mbarrier_init(&shared.value_ring.empty[i], warps);
    }
    mbarrier_init(&shared.key_ring.tail, 1);
    mbarrier_init(&shared.value_ring.tail, 1);
    fence_mbarrier_init();
}

template <int HEAD_DIM, class T> KF_INLINE void wide_attention(const WideAttentionWgmmaArgs<T>& args) {
    extern __shared__ __align__(1024) unsigned char memory[];
    auto& shared = *reinterpret_cast<Shared<T, HEAD_DIM>*>(memory);
    if (threadIdx.x == 0) {
        shared.item = find_item<Sizes<HEAD_DIM>::CONSUMERS * ROWS>(args.items);
        start_barriers(shared, max(1, ceil_div(shared.item.rows, ROWS)) * WARPGROUP / WARP);
    }
    __syncthreads();  // item and barriers are there
    const AttentionItem& item = shared.item;
    if (item.rows == 0) return;

    int warpgroup = (int)threadIdx.x / WARPGROUP - 1;
    if (warpgroup < 0) {
        if constexpr (HEAD_DIM <= 128) setmaxnreg_decrease<40>();
        if (warp_id() == 0) produce<HEAD_DIM>(shared, args, item);
    } else {
        if constexpr (HEAD_DIM <= 128) setmaxnreg_increase<232>();
        if (warpgroup * ROWS < item.rows) Consumer<HEAD_DIM, T>(shared, args.items.plan, item, warpgroup).run();
    }
}

#define KF_ENTRY(type, name, head_dim)                                                                                          \
    extern "C" __global__ void __launch_bounds__(Sizes<head_dim>::THREADS, 1)                                                   \
        wide_attention_wgmma_##name##_##head_dim(const __grid_constant__ WideAttentionWgmmaArgs<type> args) { wide_attention<head_dim>(args); }

KF_ENTRY(half, f16, 64)
KF_ENTRY(half, f16, 96)
KF_ENTRY(half, f16, 128)
KF_ENTRY(half, f16, 256)
KF_ENTRY(bf16, bf16, 64)
KF_ENTRY(bf16, bf16, 96)
KF_ENTRY(bf16, bf16, 128)
KF_ENTRY(bf16, bf16, 256)
