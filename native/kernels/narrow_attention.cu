// narrow_attention.cu - attention of a few rows over one split: decode, verification, and what a sequence shares with nobody.
//
// Why      With few rows attention is bound by the bandwidth of keys and values. So a warp alone takes an item, and keeps the memory busy while it computes:
//          items need not be alike, and warps never wait for each other. The tensor cores have no trouble to keep up: their rows are the query heads of
//          a key/value head, and the tokens of a verification. Work by split: Flash-Decoding; the states between items: attention_items.cuh.
//
// Math     That of attention.cu; attention_items.cuh says what an item means, softmax_state.cuh has the steps.
//
// Shapes   Those of AttentionItemArgs.
//
// Tiling   grid = (items / warps of a block, kv_heads); a warp is one item of at most 16 rows and one split. Blocks are small, 2 warps or 1: their memory is
//          free again when the longest of their items ends. Keys and values arrive by cp.async in chunks of 16 positions, in a ring of 8 of them
//          in the order of use: the keys of a tile, then its values. A chunk that was used makes room at once. The 32 chunks of a split have a
//          lane each, which looks up its block.
//
// Limits   head_dim <= HEAD_DIM, a multiple of 8; block_size a multiple of 16; rows of queries, keys and values at multiples of 16 bytes. An item lies in one
//          split; if it leaves that open it stores nothing else.
//
// Cost     4 * head_dim bytes per position and kv head of an item, each read once; (8 + 1) * 32 * HEAD_DIM bytes of shared memory per warp, 8 / 9 of it in flight.

#include "kf/kf.cuh"

// CudaOperators.NarrowAttention.cs uses the same numbers.
constexpr int ROWS = 16;
constexpr int CHUNK = 16;  // positions of a slot of the ring
constexpr int RING = 8;    // slots

constexpr int CHUNKS = TILE / CHUNK;
static_assert(SPLIT / CHUNK == WARP);   // a lane has a chunk
static_assert(2 * CHUNKS % RING == 0);  // a chunk of a tile has the same slot in all tiles

// Dynamic shared memory of a warp.
template <class T, int HEAD_DIM> struct Shared {
    T queries[ROWS * HEAD_DIM];
    T ring[RING][CHUNK * HEAD_DIM];
};

// A warp's item. What is needed once is left in memory: registers are scarce.
struct Work {
    const AttentionItem& item;
    int kv_head, first, end;
    size_t chunk;  // element of keys, and of values, where the lane's chunk of the item starts
};

template <class T> KF_INLINE size_t find_chunk(const AttentionItemArgs<T>& args, const AttentionItem& item, int kv_head) {
    int position = item.first + lane_id() * CHUNK;
    return position < item.end ? position_offset(args, item.table, kv_head, position) : 0;
}

// Starts the copy of the item's queries, zeros for rows that it has not. A lane knows where one row starts.
template <int HEAD_DIM, class T> KF_INLINE void load_queries(T* queries, const AttentionItemArgs<T>& args, const Work& work) {
    constexpr int VECTORS = HEAD_DIM / 8;
    int lanes_row = work.item.first_row + min(lane_id(), work.item.rows - 1);
    size_t start = (size_t)token_of(args, lanes_row) * args.queries_stride + column_of(args, lanes_row, work.kv_head);
#pragma unroll
    for (int i = 0; i < ROWS * VECTORS / WARP; i++) {
        int index = i * WARP + lane_id(), row = index / VECTORS, vector = index % VECTORS;
        const T* source = args.queries + __shfl_sync(ALL_LANES, start, row);
        bool is_there = row < work.item.rows && vector * 8 < args.head_dim;
        cp_async_16(shared_address(queries + tile_offset<HEAD_DIM>(row, vector)), source + vector * 8, is_there ? 16 : 0);
    }
}

// Starts the copy of the chunk of keys or values from a position on; zeros behind the item's end, since 0 * NaN is no 0. LANES neighbours copy vectors
// side by side, so that a lane's addresses differ by constants.
template <int HEAD_DIM, class T>
KF_INLINE void load_chunk(T* slot, const T* keys_or_values, const AttentionItemArgs<T>& args, const Work& work, int position) {
    constexpr int LANES = HEAD_DIM % 64 == 0 ? 8 : 4, ROWS_AT_ONCE = WARP / LANES;
    int first_row = lane_id() / LANES, first_vector = lane_id() % LANES;
    const T* source = keys_or_values + __shfl_sync(ALL_LANES, work.chunk, (position - work.first) / CHUNK) + first_row * args.position_stride + first_vector * 8;
    int rows = work.end - position - first_row, columns = args.head_dim - first_vector * 8;
    if (position < work.end) {
#pragma unroll 2  // all of it would take registers that the tensor cores need
        for (int row = 0; row < CHUNK; row += ROWS_AT_ONCE) {
#pragma unroll
            for (int vector = 0; vector < HEAD_DIM / 8; vector += LANES) {
                bool is_there = row < rows && vector * 8 < columns;
                T* target = slot + tile_offset<HEAD_DIM>(first_row + row, first_vector + vector);
                cp_async_16(shared_address(target), source + row * args.position_stride + vector * 8, is_there ? 16 : 0);
            }
        }
    }
    cp_async_commit();
}

// Scores of the rows with the keys of a chunk, which start at 0.
template <int HEAD_DIM, class T> KF_INLINE void score_chunk(float (*scores)[4], const T* queries, const T* keys) {
#pragma unroll
    for (int step = 0; step < HEAD_DIM / 16; step++) {
        uint32_t a[4], b[4];
        load_a<HEAD_DIM>(a, queries, 0, step);
        load_b<HEAD_DIM>(b, keys, 0, step);
        mma_m16n8k16<T>(scores[0], a, b[0], b[1]);
        mma_m16n8k16<T>(scores[1], a, b[2], b[3]);
    }
}

// Adds p times the values of a chunk to the output.
template <int HEAD_DIM, class T> KF_INLINE void add_chunk(SoftmaxState<HEAD_DIM>& state, const float (*p)[4], const T* values) {
    uint32_t a[4], b[4];
    pack_weights<T>(a, p, 0);
#pragma unroll
    for (int pair = 0; pair < HEAD_DIM / 16; pair++) {
        load_b_transposed<HEAD_DIM>(b, values, 0, pair);
        mma_m16n8k16<T>(state.output[2 * pair], a, b[0], b[1]);
        mma_m16n8k16<T>(state.output[2 * pair + 1], a, b[2], b[3]);
    }
}

// What a row on a side of the lane sees of the item.
template <class T> KF_INLINE Visible visible_of(const AttentionItemArgs<T>& args, const AttentionItem& item, int side) {
    Visible visible = visible_of(args, min(plan_row(item, 0, side), item.first_row + item.rows - 1));
    visible.last = min(visible.last, item.end - 1);
    return visible;
}

// Adds the item's tiles to the state.
template <int HEAD_DIM, class T>
KF_INLINE void walk(SoftmaxState<HEAD_DIM>& state, Shared<T, HEAD_DIM>& shared, const AttentionItemArgs<T>& args, const Work& work) {
    // Starts the copy of the chunk that is used `ahead` chunks after the first of the tile at `first`.
    auto load_ahead = [&](int first, int ahead) {
        const T* source = ahead / CHUNKS % 2 == 0 ? args.keys : args.values;
        load_chunk<HEAD_DIM>(shared.ring[ahead % RING], source, args, work, first + ahead / (2 * CHUNKS) * TILE + ahead % CHUNKS * CHUNK);
    };

    load_queries<HEAD_DIM>(shared.queries, args, work);  // joins the group of the first chunk
#pragma unroll
    for (int i = 0; i < RING; i++) load_ahead(work.first, i);
    load_carry(state, args, work.item, work.kv_head, 0);

    for (int first = work.first; first < work.end; first += TILE) {
        Scores scores = {};
#pragma unroll
        for (int i = 0; i < CHUNKS; i++) {
            cp_async_wait<RING - 1>();
            __syncwarp();  // the chunk is there, the first time the queries too
            if (first + i * CHUNK < work.end) score_chunk<HEAD_DIM>(scores + 2 * i, shared.queries, shared.ring[i % RING]);
            __syncwarp();  // it has been read: its slot may be filled again
            load_ahead(first, i + RING);
        }
        if (args.scoring.cap != 0.0f) cap_scores(scores, args.scoring);
        if (needs_mask(args, work.item, first)) {
            Visible visible[2] = {visible_of(args, work.item, 0), visible_of(args, work.item, 1)};
            mask_scores(scores, first, visible);
        }
        add_scores(state, scores, args.scoring.scale);
#pragma unroll
        for (int i = 0; i < CHUNKS; i++) {
            cp_async_wait<RING - 1>();
            __syncwarp();  // the chunk is there
            if (first + i * CHUNK < work.end) add_chunk(state, scores + 2 * i, shared.ring[(CHUNKS + i) % RING]);
            __syncwarp();  // it has been read
            load_ahead(first, CHUNKS + i + RING);
        }
    }
}

// Folds the item's list and its split.
template <int HEAD_DIM, class T>
KF_INLINE void fold_all(
    SoftmaxTotal& total, RegisterOutput<HEAD_DIM>& output, const SoftmaxState<HEAD_DIM>& state, float* memory, const AttentionItemArgs<T>& args, const Work& work) {
    if constexpr (HEAD_DIM <= 128) {
        fold_records<HEAD_DIM>(total, output, args, work.item, work.kv_head, 0);
        fold_state(total, output, state, args.scoring.scale);
    } else {
        // Registers have no room for two outputs of 256 columns: that of the split waits in memory.
        SharedOutput<HEAD_DIM, WARP> waiting{memory + lane_id()};
#pragma unroll
        for (int n = 0; n < HEAD_DIM / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) waiting(n, i) = state.output[n][i];
        }
        __syncwarp();  // so that the compiler does not keep what it stored
        fold_records<HEAD_DIM>(total, output, args, work.item, work.kv_head, 0);
        fold_split(total, output, state, waiting, args.scoring.scale);
    }
}

// Folds the item's list and its split, and stores what the item is asked for.
template <int HEAD_DIM, class T>
KF_INLINE void finish(const SoftmaxState<HEAD_DIM>& state, Shared<T, HEAD_DIM>& shared, const AttentionItemArgs<T>& args, const Work& work) {
    const AttentionItem& item = work.item;
    if (item.carry_out != NO_SLOT) return store_carry(state, args, item, work.kv_head, 0);

    SoftmaxTotal total;
    RegisterOutput<HEAD_DIM> output;
    fold_all(total, output, state, reinterpret_cast<float*>(shared.ring), args, work);  // all of the ring was read
    if (item.record_out != NO_SLOT) store_record<HEAD_DIM>(total, output, args, item, work.kv_head, 0);
    else write_result<HEAD_DIM>(total, output, args, item, work.kv_head, 0);
}

template <int HEAD_DIM, class T> KF_INLINE void narrow_attention(const AttentionItemArgs<T>& args) {
    extern __shared__ int4 memory[];
    auto& shared = reinterpret_cast<Shared<T, HEAD_DIM>*>(memory)[warp_id()];
    int index = args.item_range[0] + blockIdx.x * (blockDim.x / WARP) + warp_id();
    if (index >= args.item_range[1]) return;  // whole warps; none waits for another

    const AttentionItem& item = args.items[index];
    Work work{item, (int)blockIdx.y, item.first, item.end};
    work.chunk = find_chunk(args, work.item, work.kv_head);
    SoftmaxState<HEAD_DIM> state;
    walk(state, shared, args, work);
    finish(state, shared, args, work);
}

extern "C" __global__ void __launch_bounds__(64) narrow_attention_f16_64(const __grid_constant__ AttentionItemArgs<half> args) { narrow_attention<64>(args); }
extern "C" __global__ void __launch_bounds__(64) narrow_attention_f16_96(const __grid_constant__ AttentionItemArgs<half> args) { narrow_attention<96>(args); }
extern "C" __global__ void __launch_bounds__(64) narrow_attention_f16_128(const __grid_constant__ AttentionItemArgs<half> args) { narrow_attention<128>(args); }
extern "C" __global__ void __launch_bounds__(32) narrow_attention_f16_256(const __grid_constant__ AttentionItemArgs<half> args) { narrow_attention<256>(args); }
extern "C" __global__ void __launch_bounds__(64) narrow_attention_bf16_64(const __grid_constant__ AttentionItemArgs<bf16> args) { narrow_attention<64>(args); }
extern "C" __global__ void __launch_bounds__(64) narrow_attention_bf16_96(const __grid_constant__ AttentionItemArgs<bf16> args) { narrow_attention<96>(args); }
extern "C" __global__ void __launch_bounds__(64) narrow_attention_bf16_128(const __grid_constant__ AttentionItemArgs<bf16> args) { narrow_attention<128>(args); }
extern "C" __global__ void __launch_bounds__(32) narrow_attention_bf16_256(const __grid_constant__ AttentionItemArgs<bf16> args) { narrow_attention<256>(args); }
