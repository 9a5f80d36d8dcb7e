// wide_attention.cu - the wide items of an attention plan: many rows over the same keys and values; on tensor cores by mma.sync.
//
// Why      Rows that share a prefix, and the rows of a prefill chunk, read the same keys and values: a block reads them once for up to 128 rows and is
//          bound by arithmetic. Hydragen: arXiv:2402.05099; the loop: FlashAttention-2, arXiv:2307.08691. Also the dense prefix that a caller owns.
//
// Math     The canon of attention (native/README.md), item by item (kf/attention_items.cuh): fold the item's list, take over or start the state of a split,
//          walk tiles, fold finished splits, leave a carry, a record or the result. The bits are those of attention.cu.
//
// Shapes   Those of AttentionItemArgs. Without items, block x has the x-th run of ROWS rows over all dense_positions.
//
// Tiling   grid = (items, kv_heads); 8 warps of 16 rows, 4 when HEAD_DIM is 256. Queries stay in shared memory; keys and values come tile by tile through
//          cp.async into two stages each, so that a tile costs one barrier and warps drift: one multiplies while another exponentiates. With
//          HEAD_DIM 256 there is room for one stage: keys of the next tile arrive during softmax and values, values during the next scores.
//          Where a position starts in memory is looked up once a tile, one position a thread, a tile ahead: any block size costs the same.
//          The total over splits is in registers where they suffice, else in shared memory, each thread's own column.
//
// Limits   head_dim a multiple of 8 and <= HEAD_DIM; rows of queries, keys and values at multiples of 16 bytes; scale > 0; finite keys and values.
//
// Cost     4 * head_dim FLOP per row and visible position; reads 4 * head_dim bytes per position and item.

#include "kf/kf.cuh"

// Sizes of an instantiation. CudaOperators.WideAttention.cs uses the same numbers.
template <int HEAD_DIM> struct Sizes {
    static constexpr int ROWS = HEAD_DIM <= 128 ? 128 : 64;
    static constexpr int THREADS = ROWS / 16 * WARP;
    static constexpr int STAGES = HEAD_DIM <= 128 ? 2 : 1;
    static constexpr int VECTORS = HEAD_DIM / 8;  // of 16 bytes in a row
    static constexpr bool TOTAL_IN_REGISTERS = HEAD_DIM + TILE / 2 <= 160;
};

constexpr long long NOWHERE = -1;

// Dynamic shared memory of a block; totals are left out where they are in registers.
template <class T, int HEAD_DIM> struct Shared {
    using S = Sizes<HEAD_DIM>;
    T queries[S::ROWS * HEAD_DIM];
    T keys[S::STAGES][TILE * HEAD_DIM];
    T values[S::STAGES][TILE * HEAD_DIM];
    AttentionItem item;  // without rows if there is none; here, since registers are scarce
    long long starts[2][TILE];  // of a tile's positions in keys and values, in elements, or NOWHERE; of this tile and the next one
    float totals[HEAD_DIM / 2][S::THREADS];
};

// Starts the copy of the item's queries; zeros behind its rows and behind head_dim.
template <int HEAD_DIM, class T> KF_INLINE void load_queries(T* queries, const AttentionItemArgs<T>& args, const AttentionItem& item, int kv_head) {
    using S = Sizes<HEAD_DIM>;
    for (int i = threadIdx.x; i < S::ROWS * S::VECTORS; i += S::THREADS) {
        int row = i / S::VECTORS, vector = i % S::VECTORS, plan_row = item.first_row + row;
        bool there = row < item.rows && vector * 8 < args.head_dim;
        const T* source = args.queries;
        if (there) source += (size_t)token_of(args, plan_row) * args.queries_stride + column_of(args, plan_row, kv_head) + vector * 8;
        cp_async_16(shared_address(queries + tile_offset<HEAD_DIM>(row, vector)), source, there ? 16 : 0);
    }
}

// Looks up where the positions of a tile start.
template <class T> KF_INLINE void find_starts(long long (&starts)[TILE], const AttentionItemArgs<T>& args, const AttentionItem& item, int kv_head, int first) {
    int position = first + threadIdx.x;
    if (threadIdx.x < TILE) starts[threadIdx.x] = position < item.end ? (long long)position_offset(args, item.table, kv_head, position) : NOWHERE;
}

// Starts the copy of a tile of keys or values; zeros where nobody looks, since 0 * NaN is no 0.
template <int HEAD_DIM, class T> KF_INLINE void load_tile(T* tile, const T* source, const long long (&starts)[TILE], int head_dim) {
    using S = Sizes<HEAD_DIM>;
    constexpr int COPIES = TILE * S::VECTORS / S::THREADS, AT_ONCE = HEAD_DIM <= 128 ? COPIES : 2;  // of a thread; fewer where registers are scarce
    constexpr int ROWS_AT_ONCE = AT_ONCE * S::THREADS / S::VECTORS;
    static_assert(ROWS_AT_ONCE % 8 == 0);  // rows that far apart have their vectors in the same order
#pragma unroll 1
    for (int first = 0; first < TILE; first += ROWS_AT_ONCE) {
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            int index = i * S::THREADS + threadIdx.x, row = index / S::VECTORS, vector = index % S::VECTORS;
            long long start = starts[first + row];
            bool there = start != NOWHERE && vector * 8 < head_dim;
            T* destination = tile + first * HEAD_DIM + tile_offset<HEAD_DIM>(row, vector);
            cp_async_16(shared_address(destination), source + (there ? start + vector * 8 : 0), there ? 16 : 0);
        }
    }
}

// Products of the warp's 16 rows with the keys of a tile.
template <int HEAD_DIM, class T> KF_INLINE void score(Scores& scores, const T* queries, const T* keys) {
#pragma unroll
    for (int n = 0; n < TILE / 8; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) scores[n][i] = 0.0f;
    }
#pragma unroll
    for (int step = 0; step < HEAD_DIM / 16; step++) {
        uint32_t a[4], b[4];
        load_a<HEAD_DIM>(a, queries, warp_id() * 16, step);
#pragma unroll
        for (int n = 0; n < TILE / 8; n += 2) {
            load_b<HEAD_DIM>(b, keys, n * 8, step);
            mma_m16n8k16<T>(scores[n], a, b[0], b[1]);
            mma_m16n8k16<T>(scores[n + 1], a, b[2], b[3]);
        }
    }
}

// From the products of a tile to its weights, and what the state forgets.
template <int HEAD_DIM, class T>
KF_INLINE void weigh(SoftmaxState<HEAD_DIM>& state, Scores& scores, const AttentionItemArgs<T>& args, const AttentionItem& item, int first) {
    if (args.scoring.cap != 0.0f) cap_scores(scores, args.scoring);
    if (needs_mask(args, item, first)) {
        int warp_row = warp_id() * 16;
        Visible visible[2] = {visible_in(args, item, warp_row, 0), visible_in(args, item, warp_row, 1)};
        mask_scores(scores, first, visible);
    }
    add_scores(state, scores, args.scoring.scale);
}

// Adds weights times the values of a tile to the output.
template <int HEAD_DIM, class T> KF_INLINE void add_values(SoftmaxState<HEAD_DIM>& state, const Scores& weights, const T* values) {
#pragma unroll
    for (int step = 0; step < TILE / 16; step++) {
        uint32_t a[4], b[4];
        pack_weights<T>(a, weights, step);
#pragma unroll
        for (int pair = 0; pair < HEAD_DIM / 16; pair++) {
            load_b_transposed<HEAD_DIM>(b, values, step * 16, pair);
            mma_m16n8k16<T>(state.output[2 * pair], a, b[0], b[1]);
            mma_m16n8k16<T>(state.output[2 * pair + 1], a, b[2], b[3]);
        }
    }
}

// What becomes of the state when its last tile is done, and of the total.
template <int HEAD_DIM, class Output, class T>
KF_INLINE void finish(
    const SoftmaxState<HEAD_DIM>& state, const SoftmaxTotal& total, Output& output, const AttentionItemArgs<T>& args, const AttentionItem& item, int kv_head) {
    int warp_row = warp_id() * 16;
    if (item.carry_out != NO_SLOT) store_carry(state, args, item, kv_head, warp_row);
    if (item.record_out != NO_SLOT) store_record<HEAD_DIM>(total, output, args, item, kv_head, warp_row);
    if (item.carry_out == NO_SLOT && item.record_out == NO_SLOT) write_result<HEAD_DIM>(total, output, args, item, kv_head, warp_row);
}

// The item. Tile after tile changes parity, and with two stages its stage.
template <int HEAD_DIM, class Output, class T>
KF_INLINE void attend(Output& output, Shared<T, HEAD_DIM>& shared, const AttentionItemArgs<T>& args, const AttentionItem& item) {
    constexpr int STAGES = Sizes<HEAD_DIM>::STAGES;
    int kv_head = blockIdx.y, warp_row = warp_id() * 16, first = first_tile(args, item);
    bool has_rows = warp_row < item.rows;  // warps without rows only copy
    int start = first / TILE % 2;
    find_starts(shared.starts[start], args, item, kv_head, first);
    find_starts(shared.starts[start ^ 1], args, item, kv_head, first + TILE);
    load_queries<HEAD_DIM>(shared.queries, args, item, kv_head);  // joins the group of the first keys
    __syncthreads();  // the starts are there
    load_tile<HEAD_DIM>(shared.keys[start % STAGES], args.keys, shared.starts[start], args.head_dim);
    if (STAGES == 1) cp_async_commit();
    load_tile<HEAD_DIM>(shared.values[start % STAGES], args.values, shared.starts[start], args.head_dim);
    cp_async_commit();

    SoftmaxState<HEAD_DIM> state;
    SoftmaxTotal total;
    Scores scores;
    if (has_rows) {
        fold_records<HEAD_DIM>(total, output, args, item, kv_head, warp_row);
        load_carry(state, args, item, kv_head, warp_row);
    }
    for (; first < item.end; first += TILE) {
        int parity = first / TILE % 2, stage = parity % STAGES, next = (parity ^ 1) % STAGES;
        bool has_next = first + TILE < item.end;
        cp_async_wait<STAGES == 2 ? 0 : 1>();
        __syncthreads();  // the tile's keys are there, with two stages its values too; every warp is done with the tile before
        if (STAGES == 2) {
            if (has_next) {
                load_tile<HEAD_DIM>(shared.keys[next], args.keys, shared.starts[parity ^ 1], args.head_dim);
                load_tile<HEAD_DIM>(shared.values[next], args.values, shared.starts[parity ^ 1], args.head_dim);
            }
            cp_async_commit();
        }
        find_starts(shared.starts[parity], args, item, kv_head, first + 2 * TILE);
        if (has_rows) score<HEAD_DIM>(scores, shared.queries, shared.keys[stage]);
        if (STAGES == 1) {
            __syncthreads();  // the keys have been read: the next ones may come
            if (has_next) load_tile<HEAD_DIM>(shared.keys[0], args.keys, shared.starts[parity ^ 1], args.head_dim);
            cp_async_commit();
        }
        if (has_rows) weigh(state, scores, args, item, first);
        if (STAGES == 1) {
            cp_async_wait<1>();
            __syncthreads();  // the values are there
        }
        if (has_rows) add_values(state, scores, shared.values[stage]);
        if (STAGES == 1) {
            __syncthreads();  // the values have been read: the next ones may come
            if (has_next) load_tile<HEAD_DIM>(shared.values[0], args.values, shared.starts[parity ^ 1], args.head_dim);
            cp_async_commit();
        }
        if (has_rows && ((first + TILE) % SPLIT == 0 || (!has_next && item.carry_out == NO_SLOT))) {
            fold_state(total, output, state, args.scoring.scale);
            state.start();
        }
    }
    if (has_rows) finish(state, total, output, args, item, kv_head);
}

template <int HEAD_DIM, class T> KF_INLINE void wide_attention(const WideAttentionArgs<T>& args) {
    extern __shared__ int4 memory[];
    using S = Sizes<HEAD_DIM>;
    auto& shared = *reinterpret_cast<Shared<T, HEAD_DIM>*>(memory);
    if (threadIdx.x == 0) shared.item = find_item<S::ROWS>(args);
    __syncthreads();  // the item is there
    if (shared.item.rows == 0) return;
    if constexpr (S::TOTAL_IN_REGISTERS) {
        RegisterOutput<HEAD_DIM> output;
        attend<HEAD_DIM>(output, shared, args.plan, shared.item);
    } else {
        SharedOutput<HEAD_DIM, S::THREADS> output{&shared.totals[0][threadIdx.x]};
        attend<HEAD_DIM>(output, shared, args.plan, shared.item);
    }
}

extern "C" __global__ void __launch_bounds__(256) wide_attention_f16_64(const __grid_constant__ WideAttentionArgs<half> args) { wide_attention<64>(args); }
extern "C" __global__ void __launch_bounds__(256) wide_attention_f16_96(const __grid_constant__ WideAttentionArgs<half> args) { wide_attention<96>(args); }
extern "C" __global__ void __launch_bounds__(256) wide_attention_f16_128(const __grid_constant__ WideAttentionArgs<half> args) { wide_attention<128>(args); }
extern "C" __global__ void __launch_bounds__(128) wide_attention_f16_256(const __grid_constant__ WideAttentionArgs<half> args) { wide_attention<256>(args); }
extern "C" __global__ void __launch_bounds__(256) wide_attention_bf16_64(const __grid_constant__ WideAttentionArgs<bf16> args) { wide_attention<64>(args); }
extern "C" __global__ void __launch_bounds__(256) wide_attention_bf16_96(const __grid_constant__ WideAttentionArgs<bf16> args) { wide_attention<96>(args); }
extern "C" __global__ void __launch_bounds__(256) wide_attention_bf16_128(const __grid_constant__ WideAttentionArgs<bf16> args) { wide_attention<128>(args); }
extern "C" __global__ void __launch_bounds__(128) wide_attention_bf16_256(const __grid_constant__ WideAttentionArgs<bf16> args) { wide_attention<256>(args); }
